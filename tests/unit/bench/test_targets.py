"""A run's figures against what is to be reached."""

from __future__ import annotations

from typing import Any

from bench import report, scenarios
from bench.studies.targets import study_verdicts
from bench.targets import BATCHING, PRODUCT, Verdict, verdicts

PARTS = {"edge": 0.3, "worker": 0.4, "upstream": 9.0}


def row(stack: str, scenario: str, **figures: Any) -> dict[str, Any]:
    series = {"p50": 120.0, "p99": 160.0, "p999": 170.0}
    base: dict[str, Any] = {"accepted_per_s": 1000.0, "jobs_per_s": 500.0, "polls_per_s": 0.0, "polls": 0}
    base |= {
        "ended": 10,
        "failed": 0,
        "unended": 0,
        "calls_per_job": 1.0,
        "callers": 128,
        "accept_ms": series,
        "result_ms": series,
    }
    base |= {"poll_ms_seen": series, "cpu_ms": PARTS, "rss_mb": PARTS, "largest_mb": {"worker": 90, "mongod": 900}}
    return {"stack": stack, "scenario": scenario, "upstream": {"repeated": 0}, **base, **figures}


def verdict(rows: list[dict[str, Any]], name: str) -> Verdict:
    (found,) = [each for each in verdicts(rows) if each.target.name == name]
    return found


def test_a_rate_is_judged_against_the_peer_of_the_same_run() -> None:
    name = "accepted/s at 128 callers, against bullmq"
    theirs = row("bullmq", scenarios.SUBMIT, accepted_per_s=900.0, cpu_ms={"edge": 0.75})
    assert verdict([row(PRODUCT, scenarios.SUBMIT), theirs], name).outcome == "met"
    slower = row(PRODUCT, scenarios.SUBMIT, accepted_per_s=899.0, cpu_ms={"edge": 0.76})
    assert verdict([slower, theirs], name).outcome == "missed"


def test_rates_that_the_cpu_per_job_contradicts_prove_nothing() -> None:
    name = "accepted/s at 128 callers, against bullmq"
    theirs = row("bullmq", scenarios.SUBMIT, accepted_per_s=900.0, cpu_ms={"edge": 0.35})
    assert verdict([row(PRODUCT, scenarios.SUBMIT), theirs], name).outcome == "unclear"


def test_the_upstreams_cpu_is_nobodys_cost() -> None:
    name = "accepted/s at 128 callers, against bullmq"
    rows = [row(PRODUCT, scenarios.SUBMIT), row("bullmq", scenarios.SUBMIT, cpu_ms={"edge": 0.35, "upstream": 0.1})]
    by_cost = verdict(rows, name).by_cost
    assert by_cost is not None
    assert round(by_cost, 6) == 0.5


def test_a_latency_must_stay_below_its_bound() -> None:
    name = "100/s, time above upstream p50, against BullMQ"
    rows = [row(PRODUCT, scenarios.RATE_100), row("bullmq", scenarios.RATE_100)]
    assert verdict(rows, name).outcome == "met"
    rows[0]["result_ms"] = {"p50": 121.0, "p99": 160.0}
    assert verdict(rows, name).outcome == "missed"


def test_what_was_not_measured_is_not_met() -> None:
    judged = verdicts([row(PRODUCT, scenarios.SUBMIT)])
    missing = [each for each in judged if each.figure is None]
    assert len(missing) == len(judged)
    assert {each.outcome for each in judged} == {"not measured"}


def test_long_vectors_are_judged_against_tiny_answers_of_the_same_run() -> None:
    name = "jobs/s with 3,072 numbers, against tiny answers"
    tiny = row(PRODUCT, scenarios.RESULT_0, cpu_ms={"edge": 0.7, "upstream": 9.0})
    long = row(PRODUCT, scenarios.vectors(3072), jobs_per_s=350.0, cpu_ms={"edge": 1.0})
    assert verdict([tiny, long], name).outcome == "met"
    long["cpu_ms"] = {"edge": 1.1}
    assert verdict([tiny, long], name).outcome == "unclear"


def test_a_memory_bound_looks_at_python_processes_only() -> None:
    found = verdict([row(PRODUCT, scenarios.RESULT_0)], "largest Python process under load")
    assert found.figure == 90


def test_every_row_gets_into_the_table() -> None:
    rows = [row(stack, scenarios.SUBMIT) for stack in (PRODUCT, "celery", "bullmq")]
    rows.append(
        {"stack": PRODUCT, "scenario": "idle", "cpu_percent": {"edge": 1.0, "worker": 1.0}, "rss_mb": {"edge": 80}}
    )
    rows.append({"stack": PRODUCT, "scenario": "cold start", "ready_s": 2.0, "first_result_ms": 90.0})
    lines = report.table(rows)
    assert [line.split(" | ")[1] for line in lines if line.startswith(f"| {scenarios.SUBMIT}")] == [
        PRODUCT,
        "celery",
        "bullmq",
    ]


def test_a_lost_or_doubled_job_of_ours_is_a_complaint_and_a_peers_is_not() -> None:
    assert report.complaints([row(PRODUCT, scenarios.SUBMIT), row("celery", scenarios.SUBMIT, failed=3)]) == []
    assert report.complaints([row(BATCHING, scenarios.RESULT_0, unended=1)])
    assert report.complaints([row(PRODUCT, scenarios.RESULT_0, upstream={"repeated": 2})])


def test_a_study_is_judged_only_when_it_was_run() -> None:
    at = {"10%": {"worker": 70.0, "mongod": 100.0}, "100%": {"worker": 84.0, "mongod": 900.0}}
    over = {"stack": PRODUCT, "scenario": scenarios.memory_over(scenarios.MANY), "largest_mb_at": at}
    drained: dict[str, Any] = {"stack": PRODUCT, "scenario": scenarios.drain_of(scenarios.MANY)}
    drained |= {"first_tenth_per_s": 1000.0, "last_tenth_per_s": 900.0}
    drained |= {"first_tenth_cpu_ms": 0.9, "last_tenth_cpu_ms": 0.9}
    assert study_verdicts([]) == []
    assert [(each.figure, each.outcome) for each in study_verdicts([over, drained])] == [(0.9, "met"), (1.2, "missed")]


def test_growth_compares_the_fullest_database_with_the_empty_one() -> None:
    empty, full = (scenarios.stored(jobs, scenarios.SUBMIT) for jobs in (0, scenarios.MANY))
    expiring = scenarios.stored(scenarios.MANY, scenarios.EXPIRING)
    slow = {"p50": 100.0, "p99": 241.0, "p999": 300.0}
    rows = [row(PRODUCT, empty), row(PRODUCT, full, accepted_per_s=950.0), row(PRODUCT, expiring, accept_ms=slow)]
    assert [(each.figure, each.by_cost, each.outcome) for each in study_verdicts(rows)] == [
        (0.95, 1.0, "met"),
        (241 / 160, None, "missed"),
    ]


def test_what_was_measured_again_is_in_no_table_and_yet_in_the_complaints() -> None:
    lost = row(PRODUCT, scenarios.SUBMIT, disturbed=True, unended=1, accepted_per_s=1.0)
    calm = row(PRODUCT, scenarios.SUBMIT)
    rows = [lost, calm, {"stack": PRODUCT, "scenario": "idle", "cpu_percent": PARTS | {"worker": 1.0}, "rss_mb": {}}]
    rows.append({"stack": PRODUCT, "scenario": "cold start", "ready_s": 2.0, "first_result_ms": 90.0})
    assert sum(line.startswith(f"| {scenarios.SUBMIT} |") for line in report.table(rows)) == 1
    assert report.complaints(rows)
