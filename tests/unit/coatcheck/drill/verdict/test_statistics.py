"""Figures and bounds are what a scenario stands or falls by, so they are computed here from known observations."""

from __future__ import annotations

import pytest

from coatcheck.drill.model.plan import Applied, Fault
from coatcheck.drill.model.ticket import NO_ANSWER, ClientLog, Ticket
from coatcheck.drill.scenarios.scenario import Bound, broken
from coatcheck.drill.stack.network import Trouble
from coatcheck.drill.verdict.invariants import Observations, judge
from coatcheck.drill.verdict.statistics import Measured, by_kind, figures, recoveries

KILL = Fault(10.0, "broker", 0, "kill", 4.0)


def ticket(number: int, accepted: float, took: float) -> Ticket:
    return Ticket(
        f"key{number}", [f"id{number}"], [("completed", "d")], accepted, 1000 + accepted, accepted + took if took else 0
    )


def measured(tickets: list[Ticket], faults: list[Applied], client_log: ClientLog | None = None) -> Measured:
    ids = [job_id for each in tickets for job_id in each.ids]
    observations = Observations(
        tickets, {}, dict.fromkeys(ids, "completed"), dict.fromkeys(ids, 1), dict.fromkeys(ids, 1)
    )
    calls = {f"id{number}": 1000 + each.accepted_at + 0.5 for number, each in enumerate(tickets)}
    return Measured(tickets, client_log or ClientLog(), faults, calls, judge(observations), 0, len(tickets) + 1)


def test_delays_run_from_accepted_to_called_and_to_ended() -> None:
    found = figures(measured([ticket(number, float(number), 2.0) for number in range(20)], []))
    assert (found["claim_p50"], found["result_p95"], found["result_max"]) == (0.5, 2.0, 2.0)
    assert (found["unaccepted"], found["failed"], found["repeated_share"]) == (1, 0, 0)


def test_rates_are_told_apart_by_the_faults() -> None:
    times = [*(float(each) for each in range(10)), 12.0, 14.0, *(20.0 + each for each in range(10))]
    tickets = [ticket(number, at, 1.0) for number, at in enumerate(times)]
    found = figures(measured(tickets, [Applied(KILL, 10.0, 14.0, 20.0)]))
    assert (found["accepted_before"], found["accepted_during"], found["accepted_after"]) == (1.0, 0.2, 1.0)
    assert found["accepted_share"] == 0.2


def test_jobs_accepted_after_the_last_fault_are_counted_apart() -> None:
    times = [5.0, 12.0, 22.0, 23.0]
    found = figures(
        measured([ticket(number, at, 1.0) for number, at in enumerate(times)], [Applied(KILL, 10.0, 14.0, 20.0)])
    )
    assert (found["claim_during_max"], found["claim_after_max"]) == (0.5, 0.5)
    assert "claim_after_p50" not in figures(measured([ticket(0, 5.0, 1.0)], []))


def test_recovery_runs_from_the_end_of_the_fault_to_the_end_of_a_job_accepted_after_it() -> None:
    tickets = [ticket(0, 9.0, 9.0), ticket(1, 15.0, 3.0), ticket(2, 16.0, 0.5), ticket(3, 30.0, 0.1)]
    (one,) = recoveries(tickets, [Applied(KILL, 10.0, 14.0, 15.0)])
    assert (one.ended_again, one.longest_pause) == (2.5, 14.0)
    assert by_kind([one])["kill broker"]["recovery_p95"] == 2.5
    found = figures(measured(tickets, [Applied(KILL, 10.0, 14.0, 15.0)]))
    assert (found["recovery_max"], found["pause_max"]) == (2.5, 14.0)


def test_a_fault_after_which_nothing_ended_has_no_recovery() -> None:
    tickets = [ticket(0, 9.0, 9.0), ticket(1, 15.0, 0.0)]
    assert recoveries(tickets, [Applied(KILL, 10.0, 14.0, 15.0)]) == []
    assert "recovery_max" not in figures(measured(tickets, [Applied(KILL, 10.0, 14.0, 15.0)]))


def test_answers_refusals_and_silence_are_counted_apart() -> None:
    seen = ClientLog()
    for status, took in ((202, 0.1), (503, 3.0), (429, 0.2), (NO_ANSWER, 10.0), (500, 4.0)):
        seen.submits.append((status, took))
    seen.polls[503] += 2
    found = figures(measured([], [], seen))
    assert (found["submit_max"], found["refusal_max"]) == (4.0, 3.0)
    assert (found["refusals"], found["unanswered"], found["errors"]) == (2, 1, 5)


@pytest.mark.parametrize(
    ("bound", "held"),
    [
        (Bound("x", most=2.0), True),
        (Bound("x", most=1.9), False),
        (Bound("x", least=2.0), True),
        (Bound("x", least=2.1), False),
        (Bound("y", most=100.0), False),
    ],
)
def test_a_bound_holds_only_for_a_figure_that_was_measured_and_lies_within(bound: Bound, *, held: bool) -> None:
    assert (broken([bound], {"x": 2.0}) == []) is held


def test_trouble_hits_the_links_it_names_and_never_a_member_with_itself() -> None:
    cut = Trouble("cut", ["mongod*", "edge0"], ["mongod1"])
    assert cut.hits("mongod0", "mongod1")
    assert cut.hits("edge0", "mongod1")
    assert not cut.hits("mongod1", "mongod1")
    assert not cut.hits("edge1", "mongod1")
    assert not cut.hits("mongod1", "mongod0")
