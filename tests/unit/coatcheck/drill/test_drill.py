"""The drill's plan is reproducible, and its verdict notices everything that must never happen."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from coatcheck.cli.operate.drill import drill
from coatcheck.drill.faults.kinds import KINDS
from coatcheck.drill.model.plan import Fault
from coatcheck.drill.model.ticket import Ticket
from coatcheck.drill.run import planned
from coatcheck.drill.scenarios.catalogue import SCENARIOS
from coatcheck.drill.stack.cluster import LEASE_SECONDS
from coatcheck.drill.verdict.invariants import Observations, Verdict, judge

MEMBERS = {"worker": 3, "edge": 2, "reaper": 2, "broker": 3, "mongod": 3}


def plan_of(name: str, seed: int, faults: int) -> list[Fault]:
    return list(planned(replace(SCENARIOS[name], seconds=60, faults=faults), seed, MEMBERS))


@given(seed=st.integers(), faults=st.integers(1, 60), name=st.sampled_from(sorted(SCENARIOS)))
def test_the_same_seed_gives_the_same_schedule_within_the_load(seed: int, faults: int, name: str) -> None:
    plan = plan_of(name, seed, faults)
    assert plan == plan_of(name, seed, faults)
    assert [fault.at for fault in plan] == sorted(fault.at for fault in plan)
    assert all(0 <= fault.at < 60 for fault in plan)
    assert all(fault.node < MEMBERS[fault.component] for fault in plan if isinstance(fault.node, int))


@given(seed=st.integers())
def test_a_mixed_drill_breaks_every_component(seed: int) -> None:
    assert {fault.component for fault in plan_of("mixed", seed, 10)} == set(MEMBERS)


@given(seed=st.integers())
def test_the_headline_drill_begins_with_a_worker_that_sleeps_longer_than_its_leases_beside_no_other_fault(
    seed: int,
) -> None:
    sleep, *others = plan_of("mixed", seed, 12)
    assert (sleep.component, sleep.kind) == ("worker", "freeze")
    assert sleep.lasts > 2 * LEASE_SECONDS
    assert len(others) == 12
    assert min(fault.at for fault in others) > sleep.at + sleep.lasts


def test_a_drill_that_is_too_short_for_its_opening_goes_without() -> None:
    short = planned(replace(SCENARIOS["mixed"], seconds=15, faults=6), 7, MEMBERS)
    assert {fault.kind for fault in short} == {"kill"}


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_a_scenario_draws_only_kinds_that_its_component_can_suffer(name: str) -> None:
    assert all(
        draw.component in KINDS[draw.kind].components for draw in (*SCENARIOS[name].opening, *SCENARIOS[name].draws)
    )


def verdict(**changes: object) -> Verdict:
    """The verdict over one job that went well, with one piece of evidence changed."""
    ticket = Ticket("key", ids=["a"], seen=[("pending", ""), ("completed", "d1"), ("completed", "d1")])
    observations: dict[str, object] = {
        "tickets": [ticket],
        "final": {"a": ("completed", "d1")},
        "stored": {"a": "completed"},
        "endings": {"a": 1},
        "calls": {"a": 1},
    }
    return judge(Observations(**{**observations, **changes}))  # type: ignore[arg-type]


def test_a_job_that_ended_once_with_one_answer_passes() -> None:
    assert verdict().passed
    assert (verdict().accepted, verdict().ended, verdict().repeated_calls) == (1, 1, 0)


def test_an_accepted_job_that_is_not_stored_is_lost() -> None:
    found = verdict(stored={})
    assert (found.lost, found.passed) == (1, False)


@pytest.mark.parametrize("status", ["pending", "processing"])
def test_a_job_that_does_not_end_is_stuck(status: str) -> None:
    found = verdict(stored={"a": status}, final={"a": (status, "")}, tickets=[Ticket("key", ids=["a"])])
    assert (found.stuck, found.passed) == (1, False)


@pytest.mark.parametrize(
    "seen",
    [
        [("completed", "d1"), ("completed", "d2")],
        [("completed", "d1"), ("processing", "")],
        [("completed", "d1"), ("missing", "")],
        [("failed", "d1")],
    ],
)
def test_an_answer_that_changes_after_the_end_is_a_change(seen: list[tuple[str, str]]) -> None:
    found = verdict(tickets=[Ticket("key", ids=["a"], seen=seen)])
    assert (found.changed, found.passed) == (1, False)


def test_a_job_that_ended_twice_is_a_change_even_if_nobody_saw_it() -> None:
    assert verdict(endings={"a": 2}).changed == 1


def test_an_answer_that_belongs_to_another_request_is_wrong_and_names_its_owner() -> None:
    mine = Ticket("key", ids=["a"], seen=[("completed", "d1")], carries="0.5", wrong="0.25")
    other = Ticket("other", ids=["b"], seen=[("completed", "d2")], carries="0.25")
    two = {"stored": {"a": "completed", "b": "completed"}, "endings": {"a": 1, "b": 1}}
    found = verdict(tickets=[mine, other], **two)
    assert (found.wrong, found.changed, found.passed) == (1, 0, False)
    assert found.violations == ("wrong: a was answered with what belongs to b",)


def test_a_stored_answer_is_wrong_even_if_no_client_was_told() -> None:
    found = verdict(wrong={"a": "no marker"})
    assert (found.wrong, found.violations) == (1, ("wrong: a was answered with no marker",))


def test_a_chunk_without_a_job_is_an_orphan() -> None:
    found = verdict(orphans=["chunk 0 of p has no job"])
    assert (found.orphans, found.passed) == (1, False)


def test_a_stored_job_that_contradicts_itself_is_a_violation() -> None:
    found = verdict(unsound=["job a is completed and has wake_at"])
    assert found.violations == ("database: job a is completed and has wake_at",)


def test_a_key_that_made_two_jobs_is_doubled() -> None:
    ticket = Ticket("key", ids=["a", "b"])
    found = verdict(tickets=[ticket], stored={"a": "completed", "b": "completed"}, final={}, endings={"a": 1, "b": 1})
    assert (found.doubled, found.passed) == (1, False)


def test_an_end_that_the_database_did_not_log_makes_its_witness_doubtful() -> None:
    found = verdict(endings={})
    assert not found.passed
    assert "unwitnessed" in found.violations[0]


def test_no_kind_of_violation_hides_another() -> None:
    found = verdict(orphans=[f"chunk {number} of p has no job" for number in range(30)], endings={})
    assert len(found.violations) == 7
    assert found.violations[5] == "orphan: 25 more"
    assert found.violations[6].startswith("unwitnessed: ")


def test_a_violation_found_elsewhere_counts() -> None:
    found = verdict().with_more(["bound claim_p50 <= 3: it was 4"])
    assert found.violations == ("bound claim_p50 <= 3: it was 4",)
    assert not found.passed


def test_repeated_provider_calls_are_counted_and_allowed() -> None:
    found = verdict(calls={"a": 3})
    assert (found.repeated_calls, found.passed) == (2, True)


def test_an_installation_without_psutil_is_told_what_it_can_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    said = CliRunner().invoke(drill, []).output
    assert "psutil is not installed" in said and "--target" in said
