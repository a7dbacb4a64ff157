"""Jobs may be gone for good reasons: their time was up, or the databases were emptied. Only then are they not lost."""

from __future__ import annotations

from coatcheck.drill.model.ticket import Ticket
from coatcheck.drill.verdict.invariants import Observations, judge
from coatcheck.drill.verdict.observations import expired, remembered


def ticket(name: str, accepted: float, *seen: str, ended: float = 0.0) -> Ticket:
    return Ticket(f"key {name}", [name], [(status, "d") for status in seen], accepted_at=accepted, ended_at=ended)


def test_a_job_that_ended_long_ago_stands_as_its_client_saw_it() -> None:
    old = ticket("old", 1.0, "pending", "failed", ended=5.0)
    young = ticket("young", 90.0, "completed", ended=95.0)
    assert expired([old, young, ticket("open", 2.0, "pending")], before=50.0) == {"old": "failed"}


def test_a_job_whose_end_nobody_saw_is_never_taken_for_expired() -> None:
    assert expired([ticket("a", 1.0, "processing"), ticket("b", 1.0, "missing")], before=50.0) == {}


def test_after_the_databases_were_emptied_only_what_was_accepted_later_can_be_lost() -> None:
    tickets = [ticket("before", 10.0, "pending", "missing"), ticket("after", 30.0, "pending"), ticket("never", 0.0)]
    found = remembered(Observations(tickets, final={}, stored={}, endings={}, calls={}), since=20.0)
    assert [each.ids for each in found.tickets] == [["after"], ["never"]]
    assert judge(found).lost == 2


def test_a_client_knows_when_its_job_is_gone() -> None:
    assert ticket("a", 1.0, "pending", "missing").missing
    assert not ticket("a", 1.0, "missing", "pending").missing
    assert not ticket("a", 1.0).missing
