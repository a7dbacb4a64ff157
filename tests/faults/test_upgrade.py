"""This version beside the next one, and beside each release in docs/releases.toml, with every process restarted in turn
under load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from coatcheck.drill.model.plan import Draw
from coatcheck.drill.run import DrillOptions, drill
from coatcheck.drill.scenarios.scenario import Bound, Scenario
from coatcheck.drill.stack.cluster import Setup, Size
from deploy.release.commits import RELEASES, Released, export, released
from deploy.release.helm import ROOT

NEXT = Released("next", "")
OTHERS = [NEXT, *released(RELEASES.read_text())]
UPGRADE = Scenario(
    "rolling-upgrade",
    "one process of each component speaks the next version of the document",
    tuple(Draw(component, "term", lasts=(0.2, 0.2)) for component in ("worker", "edge", "reaper")),
    (Bound("errors", most=0), Bound("failed", most=0)),
    shape="in turn",
    jobs=400,
    seconds=30.0,
)


def command(other: Released, folder: Path, repository: Path = ROOT) -> tuple[str, ...]:
    """What starts a component of another version; a released one is unpacked into `folder`."""
    if other is NEXT:
        return (sys.executable, "-m", "tests.next_version")
    export(repository, other.commit, folder)
    # -P: the current folder, which holds today's code, stays out of the path.
    return ("/usr/bin/env", f"PYTHONPATH={folder}", sys.executable, "-P", "-m", "coatcheck.cli.main")


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: other.version)
async def test_two_versions_share_a_database_and_each_takes_what_it_understands(
    other: Released, tmp_path: Path
) -> None:
    start = command(other, tmp_path / "other")
    commands = {"edge1": start, "worker1": start, "reaper1": start}
    setup = Setup(Size(edges=2, workers=2, reapers=2), commands=commands)
    report = await drill(DrillOptions(UPGRADE, seed=3, setup=setup), print)
    assert report.verdict.passed, report.lines()
    assert report.verdict.completed == 400
    assert report.verdict.repeated_calls <= 20  # calls that a stopping worker gave back


def test_a_released_version_runs_its_own_code(tmp_path: Path) -> None:
    """Tried with a commit made for it, since there may be no release yet."""
    repository = tmp_path / "repository"
    package = repository / "coatcheck" / "cli"
    package.mkdir(parents=True)
    for name in ("coatcheck/__init__.py", "coatcheck/cli/__init__.py"):
        (repository / name).touch()
    (package / "main.py").write_text("print(__file__)")
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    for arguments in (("init", "--quiet"), ("add", "."), (*identity, "commit", "--quiet", "-m", "An older version")):
        subprocess.run(["git", *arguments], cwd=repository, check=True)
    start = command(Released("0.0.1", "HEAD"), tmp_path / "other", repository)
    ran = subprocess.run(start, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(tmp_path / "other" / "coatcheck" / "cli" / "main.py")
