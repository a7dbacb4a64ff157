"""The drill as a user runs it: real processes, kill -9, and a verdict with an exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest


def drill(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Run `coatcheck drill` and return its exit code and report."""
    command = [sys.executable, "-m", "coatcheck.cli.main", "drill", "--json", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert ran.stdout, ran.stderr[-4000:]
    report: dict[str, Any] = json.loads(ran.stdout)
    return ran.returncode, report


@pytest.mark.parametrize("seed", [7, 11])
def test_nothing_is_lost_stuck_or_changed_while_everything_is_killed_in_turn(seed: int) -> None:
    code, report = drill("--jobs", "400", "--seconds", "20", "--faults", "8", "--seed", str(seed))
    assert code == 0, report
    assert (report["accepted"], report["ended"]) == (400, 400)
    assert (report["lost"], report["stuck"], report["changed"], report["doubled"]) == (0, 0, 0, 0)


@pytest.mark.parametrize("scenario", ["broker-down", "worker-term", "worker-freeze", "mongod-freeze"])
def test_a_scenario_alone_ends_every_job(scenario: str) -> None:
    code, report = drill("--only", scenario, "--jobs", "100", "--seconds", "10", "--faults", "3")
    assert code == 0, report
    assert report["ended"] == report["accepted"] == 100
