# Everything a person or a CI runs. The environment in .venv is filled from the lock files when they change.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' 2>/dev/null && echo $$p && break; done)
FOUND = $(shell python3 --version 2>&1)
ENVIRONMENT = $(if $(PYTHON),,$(error Python 3.11 to 3.14 is needed, this is "$(FOUND)": install one, or make $@ PYTHON=/path/to/python3.12))$(PYTHON) -m coatcheck.dev.environment $(VENV)

PORT ?= 8080
ADMIN_PORT ?= 9090
DATA ?= .coatcheck
MODELS ?=
export MONGODB_URI KAFKA MODELS TEST_KAFKA

CODE := coatcheck edge shared workers client tests bench examples deploy
SOURCES = $(wildcard $(CODE))
TIERS ?= $(wildcard tests/unit tests/contract tests/integration tests/system)

# Unit tests that wait for timers and processes more than they compute: beside the others they cost no time.
WAITING := $(addprefix tests/unit/,coatcheck/batch coatcheck/cli workers/execution shared/kafka)

EXTRA_LOCKS := models-speech models-transcription models-ocr models-chat
# No index address gets into the files. All but the peers', which has an environment of its own, come from one
# resolution, so that any of them can be installed together.
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --custom-compile-command "make lock" --excludes requirements/never.txt

.DEFAULT_GOAL := help
.PHONY: help run test check style types unit waiting providers contract client-tests hooks format lock sbom release audit drill bench docs

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## Run the product with everything it needs; MODELS=speech,transcription,ocr,chat|all|none MONGODB_URI= KAFKA= PORT=
	@$(ENVIRONMENT) run --models "$(MODELS)"
	@exec $(BIN)/coatcheck dev --port $(PORT) --admin-port $(ADMIN_PORT) --data $(DATA)

test: ## Tests on real servers; TEST_KAFKA=apache takes Apache Kafka (Java, Maven), TIERS= others, as tests/faults
	@$(ENVIRONMENT) test --models all
	$(BIN)/python -m pytest --durations=25 $(TIERS)
	cd client && ../$(BIN)/python -m pytest -q

check: ## Format, lint, types, unit tests with few examples, contracts on fakes: within a minute
	@$(ENVIRONMENT) test
	@$(MAKE) --no-print-directory --keep-going -j 6 waiting providers contract style unit types client-tests

style:
	$(BIN)/ruff format --check --quiet $(SOURCES)
	$(BIN)/ruff check --quiet $(SOURCES)
	$(BIN)/lint-imports --no-logo --no-cache

types:
	$(BIN)/mypy
	$(BIN)/mypy -p deploy.dashboards -p deploy.release -p deploy.values_schema -p tests
	$(BIN)/mypy $(wildcard bench/*.py)
	cd client && ../$(BIN)/mypy

unit:
	$(BIN)/python -m pytest -q --hypothesis-profile=quick tests/unit $(addprefix --ignore=,$(WAITING))

waiting:
	$(BIN)/python -m pytest -q --hypothesis-profile=quick $(WAITING)

# Without the thousands of generated requests, which make test sends.
contract:
	$(BIN)/python -m pytest -q --hypothesis-profile=quick -p tests.support.fakes.fakes_only tests/contract \
		--ignore=tests/contract/http/test_openapi.py --ignore=tests/contract/providers

providers:
	$(BIN)/python -m pytest -q --hypothesis-profile=quick -p tests.support.fakes.fakes_only tests/contract/providers

client-tests:
	cd client && ../$(BIN)/python -m pytest -q

hooks: ## Run format, lint, import contracts and types before each commit and push
	@$(ENVIRONMENT) test
	$(BIN)/pre-commit install --hook-type pre-commit --hook-type pre-push

format: ## Format the code and fix what the linter can fix
	@$(ENVIRONMENT) test
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

drill: ## Try to lose a job: kill -9 everything while it works
	@$(ENVIRONMENT) run
	@$(BIN)/coatcheck drill $(if $(ONLY),--only $(ONLY))

bench: ## Measure this and its peers (needs Go; Redis, Node for peers); QUICK=1 two minutes, TEST_KAFKA=apache, ONLY=stack
	@$(ENVIRONMENT) test
	@! command -v redis-server >/dev/null || $(PYTHON) -m coatcheck.dev.environment .venv-peers bench-peers
	@BENCH_PEER_PYTHON=$(CURDIR)/.venv-peers/bin/python $(BIN)/python -m bench $(if $(SMOKE),--smoke,$(if $(QUICK),--quick)) \
		$(if $(TEST_KAFKA),--broker $(TEST_KAFKA)) $(addprefix --only ,$(ONLY))

sbom: ## Bill of materials of what is shipped, with licences: build/sbom.cdx.json (CycloneDX)
	@$(PYTHON) -m coatcheck.dev.environment .venv-shipped run
	@$(PYTHON) -m coatcheck.dev.environment .venv-audit audit
	@mkdir -p build
	@.venv-audit/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml .venv-shipped -o build/sbom.cdx.json
	@sed -i.bak 's#file://$(CURDIR)/#./#' build/sbom.cdx.json && rm build/sbom.cdx.json.bak

release: sbom ## Make the files of a release from the last commit: wheels, image context, chart, SBOM, checksums: dist/
	@$(ENVIRONMENT) test
	@$(BIN)/python -m deploy.release dist --sbom build/sbom.cdx.json

audit: ## Look up known weaknesses of every locked package that runs (asks osv.dev; OSV_URL= asks another)
	@$(PYTHON) -m coatcheck.dev.environment .venv-audit audit
	@.venv-audit/bin/pip-audit --disable-pip --no-deps --progress-spinner off --desc off --vulnerability-service osv \
		$(if $(OSV_URL),--osv-url $(OSV_URL)) $(patsubst %,-r requirements/%.txt,run $(EXTRA_LOCKS)) -r deploy/image/requirements.txt

docs: ## Renew the tables of settings and metrics and what the chart knows from the code
	@$(ENVIRONMENT) test
	$(BIN)/coatcheck config docs --into docs/configuration.md
	$(BIN)/coatcheck config docs metrics --into docs/metrics.md
	$(BIN)/python -m deploy.values_schema
	$(BIN)/python -m deploy.dashboards

lock: ## Resolve the newest packages that fit and write the lock files with their hashes
	@$(ENVIRONMENT) test
	$(COMPILE) --upgrade pyproject.toml $(addprefix requirements/,$(addsuffix .in,run test $(EXTRA_LOCKS))) -o $(VENV)/all.txt
	$(COMPILE) -c $(VENV)/all.txt pyproject.toml requirements/run.in requirements/test.in -o requirements/test.txt
	$(COMPILE) -c $(VENV)/all.txt --excludes requirements/never-in-run.txt pyproject.toml requirements/run.in \
		-o requirements/run.txt
	for lock in $(EXTRA_LOCKS); do \
		$(COMPILE) -c $(VENV)/all.txt requirements/$$lock.in -o requirements/$$lock.txt || exit; done
	$(COMPILE) -c $(VENV)/all.txt --excludes requirements/never-in-run.txt pyproject.toml deploy/image/requirements.in \
		-o deploy/image/requirements.txt
	for lock in local-models build; do $(COMPILE) -c $(VENV)/all.txt --excludes requirements/never-in-run.txt \
		deploy/image/$$lock.in -o deploy/image/$$lock.txt || exit; done
	$(COMPILE) --upgrade requirements/bench-peers.in -o requirements/bench-peers.txt
	$(COMPILE) --upgrade requirements/audit.in -o requirements/audit.txt
