"""The drill reports each protection that is missing: real processes, one sabotaged, and a fault.

Each drill is directed, not random: its schedule is one in which the protection is all that stands between a fault and
a violation.
"""

from __future__ import annotations

import sys
from pathlib import Path

from coatcheck.drill.model.plan import Draw
from coatcheck.drill.model.requests import ALL_KINDS
from coatcheck.drill.run import DrillOptions
from coatcheck.drill.run import drill as run_drill
from coatcheck.drill.scenarios.catalogue import SCENARIOS
from coatcheck.drill.scenarios.scenario import Scenario
from coatcheck.drill.stack.cluster import Setup, Size
from coatcheck.drill.verdict.report import Report
from tests.sabotage import __main__ as sabotage

SEED = 7
SOURCE = Path(__file__).read_text()
THREE_DATABASES = Size(workers=3, databases=3)


async def sabotaged(scenario: Scenario, size: Size = Size(), **what: str) -> Report:  # noqa: B008 - frozen
    """Drill with the command of some components replaced."""
    assert set(what.values()) <= set(sabotage.SABOTAGE)
    commands = {component: [sys.executable, "-m", "tests.sabotage", how] for component, how in what.items()}
    report = await run_drill(DrillOptions(scenario, SEED, setup=Setup(size, commands=commands)), print)
    print("\n".join(report.lines()))
    assert not report.verdict.passed
    return report


def steady(name: str, draw: Draw, **load: object) -> Scenario:
    return Scenario(name, "one protection is missing", (draw,), shape="steady", **load)  # type: ignore[arg-type]


async def test_without_fencing_a_worker_that_slept_changes_results_that_were_seen() -> None:
    freeze = Draw("worker", "freeze", lasts=(8.0, 8.0))
    load = Scenario("no-fence", "", (freeze,), shape="in turn", jobs=400, seconds=20, latencies=(1000,))
    report = await sabotaged(load, worker="without_fencing")
    assert report.verdict.changed > 0
    assert (report.verdict.lost, report.verdict.stuck) == (0, 0)


async def test_without_the_sweep_a_job_whose_notification_is_lost_is_stuck() -> None:
    down = Draw("broker", "kill", "all", (14.0, 14.0))
    report = await sabotaged(steady("no-sweep", down, jobs=60, seconds=6, patience=6.0), worker="without_sweep")
    assert report.verdict.stuck > 0
    assert (report.verdict.lost, report.verdict.changed) == (0, 0)


async def test_writes_that_only_the_primary_has_are_lost_when_it_is_killed() -> None:
    ahead = Draw("mongod", "kill-ahead", "primary", (6.0, 6.0))
    scenario = steady("w1", ahead, jobs=100, seconds=10, patience=8.0)
    report = await sabotaged(scenario, THREE_DATABASES, edge="without_majority_writes")
    assert report.verdict.lost > 0


async def test_without_the_due_time_in_the_claim_a_second_notification_makes_calls_before_their_time() -> None:
    again = Draw("broker", "notify-again", lasts=(6.0, 6.0))
    script = "upstream/first=1,status=500,retry_after=4,latency={latency}"
    scenario = steady("no-due", again, jobs=60, seconds=8, models=(script,))
    report = await sabotaged(scenario, worker="without_due_time")
    assert any(line.startswith("early: ") for line in report.verdict.violations), report.verdict.violations


async def test_reads_that_no_majority_confirms_show_results_that_vanish() -> None:
    # Late, when workers hold jobs. What they record is seen on a primary that will be deposed, and they die of waiting
    # for its majority: nobody records the same outcome again at the next primary.
    cut = Draw("mongod", "cut", "primary", (8.0, 8.0), peer="mongod*")
    scenario = Scenario("local-reads", "", (cut,), shape="late", jobs=320, seconds=12, latencies=(1500,))
    size = Size(workers=6, databases=3)  # each has one batch of records under way
    report = await sabotaged(scenario, size, edge="without_majority_reads", worker="dies_while_recording")
    assert report.verdict.changed > 0
    assert report.verdict.lost == 0


async def test_results_that_a_batch_exchanged_among_its_jobs_are_wrong() -> None:
    load = Scenario("exchanged", "", jobs=400, seconds=8, kinds=ALL_KINDS, latencies=(50,))
    report = await sabotaged(load, worker="exchanged_bodies")
    assert report.verdict.wrong > 20
    assert (report.verdict.lost, report.verdict.stuck, report.verdict.changed) == (0, 0, 0)


async def test_without_fencing_the_headline_drill_fails() -> None:
    report = await sabotaged(SCENARIOS["mixed"], worker="without_fencing")
    assert report.verdict.changed > 0


async def test_without_idempotency_a_repeated_submit_makes_two_jobs_and_a_dropped_index_is_named() -> None:
    load = Scenario("no-idempotency", "", jobs=120, seconds=4)
    report = await sabotaged(load, edge="without_idempotency", reaper="without_ttl")
    assert report.verdict.doubled > 0
    assert any("jobs.expires_at_ttl is missing" in line for line in report.verdict.violations)


async def test_jobs_that_are_accepted_before_they_are_stored_are_lost_with_the_database() -> None:
    down = Draw("mongod", "kill", "all", (6.0, 6.0))
    load = steady("hasty", down, jobs=200, seconds=8, patience=8.0)
    report = await sabotaged(load, edge="without_waiting_for_the_write")
    assert report.verdict.lost > 0
