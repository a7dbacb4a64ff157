"""The drill as a user runs it: real processes, real faults, and a verdict with an exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from coatcheck.drill.run import DrillOptions
from coatcheck.drill.run import drill as run_drill
from coatcheck.drill.scenarios.catalogue import SCENARIOS
from coatcheck.drill.stack.cluster import Setup, Size
from tests.support.servers.brokers import apache_wanted


def drill(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Run `coatcheck drill` and return its exit code and report."""
    command = [sys.executable, "-m", "coatcheck.cli.main", "drill", "--json", *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert ran.stdout, ran.stderr[-4000:]
    report: dict[str, Any] = json.loads(ran.stdout)
    return ran.returncode, report


def test_nothing_is_lost_stuck_or_changed_while_everything_is_killed_in_turn() -> None:
    code, report = drill("--jobs", "300", "--seconds", "15", "--faults", "6", "--seed", "7")
    assert code == 0, report
    assert (report["accepted"], report["ended"]) == (300, 300)
    assert [report[name] for name in ("lost", "stuck", "changed", "wrong", "doubled", "orphans")] == [0] * 6
    assert sum(report["faults_by_kind"].values()) == 6
    assert set(report["recovery_by_kind"]) <= set(report["faults_by_kind"])


@pytest.mark.parametrize("scenario", ["broker-down", "edge-mongod-cut"])
def test_a_row_alone_ends_every_job_within_its_bounds(scenario: str) -> None:
    code, report = drill("--only", scenario, "--jobs", "150", "--seconds", "16")
    assert code == 0, report
    assert report["ended"] == report["accepted"] == 150
    assert report["bounds"]


async def test_a_while_of_429s_fails_no_job_and_is_not_answered_with_a_hail_of_calls() -> None:
    storm = replace(SCENARIOS["provider-storm"], jobs=200, seconds=10, storm=20.0)
    report = await run_drill(DrillOptions(storm), print)
    assert report.verdict.passed, report.lines()
    assert (report.verdict.completed, report.verdict.failed) == (200, 0)
    assert report.verdict.calls < 200 * 10


async def test_with_the_brokers_under_test_and_two_of_everything_nothing_is_lost_either() -> None:
    """With Apache Kafka it is the whole cluster: three databases, three brokers."""
    setup = Setup(Size(edges=2, workers=2, reapers=2))
    options = DrillOptions(
        SCENARIOS["mixed"], jobs=300, seconds=20, faults=6, seed=5, setup=setup, cluster=apache_wanted()
    )
    report = await run_drill(options, print)
    assert report.verdict.passed, report.lines()
    assert report.verdict.ended == report.verdict.accepted == 300
