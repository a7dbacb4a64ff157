"""The pages for operators, followed to the letter: what they tell to paste works, and what they name exists."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from coatcheck.drill.scenarios.catalogue import SCENARIOS
from deploy.release.helm import ROOT, helm
from shared.settings.table import FIELDS
from tests.deploy.monitoring.promql import check_expressions, series_names, used_names
from tests.support.helm import CHART, Rendered, render
from workers.providers.scripted.provider import parse_script

DOCS = ROOT / "docs"
KUBERNETES = DOCS / "kubernetes.md"
RUNBOOKS = sorted((DOCS / "runbooks").glob("*.md"))
PAGES = [KUBERNETES, DOCS / "operations.md", DOCS / "capacity.md", *RUNBOOKS]
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
FREE = {"providers", "settings", "workers"}
"""Values whose keys are the operator's own."""
RELEASE = "coatcheck"


def blocks(page: Path, language: str = "") -> list[str]:
    found = re.findall(r"^ *```([a-z]*)\n(.*?)^ *```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


def inline(page: Path) -> Iterator[str]:
    """What stands in single backticks, outside of blocks."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for piece in re.findall(r"`([^`]+)`", text):
        yield " ".join(piece.split())


def helm_commands(page: Path) -> list[list[str]]:
    """The words of every helm command in the blocks of a page."""
    lines = "\n".join(blocks(page)).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in map(str.strip, lines) if line.startswith("helm ")]


@cache
def installed() -> Rendered:
    """What the first `helm install` of the page about Kubernetes makes."""
    return Rendered(helm("template", *_arguments(helm_commands(KUBERNETES)[0])))


def _arguments(words: list[str]) -> list[str | Path]:
    """A command that changes a cluster, as arguments of `helm template`, which needs none."""
    assert words[1] in ("install", "upgrade"), words
    left_out = ("--wait", "--install", "--reset-then-reuse-values")
    return [CHART if word == "deploy/k8s/coatcheck" else word for word in words[2:] if word not in left_out]


def sets(words: list[str]) -> list[str]:
    """The `--set` of a command."""
    return [part for pair in itertools.pairwise(words) if pair[0] == "--set" for part in pair]


def test_every_helm_command_can_be_pasted() -> None:
    install, *later = helm_commands(KUBERNETES)
    assert install[1] == "install"
    assert installed().names("Deployment") == {f"{RELEASE}-{name}" for name in ("edge", "worker", "reaper")}
    assert later
    for words in later:
        reused = sets(install) if "--reset-then-reuse-values" in words else []
        assert Rendered(helm("template", *_arguments(words), *reused)).kind("Deployment")


@pytest.mark.parametrize(
    "block", [block for page in PAGES for block in blocks(page, "yaml")], ids=lambda block: block.split(":")[0]
)
def test_values_on_the_page_render(block: str) -> None:
    written = yaml.safe_load(block)
    assert written
    kinds = {"metrics": ("ServiceMonitor", "PrometheusRule"), "workers": ("Deployment",), "kafka": ("Deployment",)}
    rendered = render(written)
    for kind in [kind for key in written for kind in kinds.get(key, ())]:
        assert rendered.kind(kind), kind


def test_objects_that_commands_name_are_there() -> None:
    """On the page about Kubernetes the release is called as in its first command."""
    found = {"deploy": installed().names("Deployment"), "svc": installed().names("Service")}
    named = re.findall(r"\b(deploy|svc)/([a-z][\w-]*)", KUBERNETES.read_text().replace("deploy/k8s/coatcheck", ""))
    commands = [(kind, name) for kind, name in named if name.startswith(RELEASE)]
    assert commands
    for kind, name in commands:
        assert name in found[kind], f"{kind}/{name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_labels_that_commands_select_by_are_on_the_pods(page: Path) -> None:
    labels = [pod["metadata"]["labels"] for pod in installed().pods().values()]
    for key, value in re.findall(r"-l ([\w./]+)=(\w+)", page.read_text()):
        assert any(each.get(key) == value for each in labels), f"{key}={value}"


def missing(path: str) -> str:
    """The first part of a dotted path that the values of the chart do not have; empty if they have all."""
    here: Any = VALUES
    first, *rest = path.split(".")
    if first in FREE and rest:
        if first == "settings":
            return "" if rest[0] in FIELDS else rest[0]
        here, rest = (VALUES["worker"], rest[1:]) if first == "workers" else ({}, [])
    else:
        here = VALUES[first]
    for part in rest:
        if not isinstance(here, dict) or part not in here:
            return part
        here = here[part]
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_values_that_a_page_names_exist(page: Path) -> None:
    for piece in inline(page):
        found = re.fullmatch(r"([a-zA-Z]+(?:\.[a-zA-Z_<>*]+)+)(=.*)?", piece)
        if found and found[1].split(".")[0] in VALUES:
            assert missing(found[1]) == "", f"{piece}: no {missing(found[1])}"


def test_a_value_that_does_not_exist_is_noticed() -> None:
    assert missing("keda.maxReplicas") == "maxReplicas"
    assert missing("settings.slotz") == "slotz"
    assert missing("workers.<name>.modalities") == ""


def test_promtool_reads_every_expression_of_the_pages(tmp_path: Path) -> None:
    written = [block for page in [*PAGES, DOCS / "metrics.md"] for block in blocks(page, "promql")]
    table = (DOCS / "metrics.md").read_text().partition("## What to watch")[2].partition("## All metrics")[0]
    written += re.findall(r"^\| [^|]+\? \| `([^`]+)`", table, re.MULTILINE)
    assert len(written) > 40
    check_expressions(written, tmp_path)
    for expression in written:
        assert used_names(expression) <= series_names().keys() | {"up"}, expression


def test_drills_that_the_pages_name_exist() -> None:
    table = (DOCS / "operations.md").read_text().partition("## When things go wrong")[2].partition("\n## ")[0]
    rows = [line.split("|")[-2] for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 15
    for cell in rows:
        named = re.findall(r"`([\w-]+)`", cell)
        assert named, cell
        assert set(named) <= set(SCENARIOS), cell
    for page in [*DOCS.rglob("*.md"), ROOT / "README.md"]:
        assert set(re.findall(r"\bONLY=([a-z][\w-]+)", page.read_text())) <= {*SCENARIOS, "stack", "coatcheck"}, page


@pytest.mark.parametrize("page", [page for page in RUNBOOKS if page.stem != "README"], ids=lambda page: page.stem)
def test_every_alert_can_be_caused_on_purpose(page: Path) -> None:
    rehearsal = page.read_text().partition("## Rehearse it")[2]
    drills = re.findall(r"coatcheck drill --only ([\w-]+)", rehearsal)
    tests = re.findall(r"`(tests/[\w/]+\.py)`", rehearsal)
    scripts = re.findall(r"`(scripted/[\w=,.]+)`", rehearsal)
    assert drills or tests or scripts
    assert set(drills) <= set(SCENARIOS)
    assert all((ROOT / test).is_file() for test in tests)
    for script in scripts:
        parse_script(script)


def test_the_tuning_table_gives_the_real_defaults() -> None:
    table = (DOCS / "operations.md").read_text().partition("## Tuning")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| `")]
    assert len(rows) >= 8
    for names, stated, *_ in rows:
        settings = re.findall(r"`(\w+)`", names)
        defaults = [FIELDS[name].default for name in settings]
        shown = ["256 MiB" if value == 256 * 2**20 else f"{value:g}" for value in defaults]
        assert stated == ", ".join(shown), names
