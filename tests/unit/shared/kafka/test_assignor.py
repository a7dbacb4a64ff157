"""When the group leader finds out that the broker ignored its assignment."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from shared.kafka.group import CheckedAssignor


class Topics:
    """The cluster's metadata: how many partitions each topic has."""

    def __init__(self, **counts: int) -> None:
        self._counts = counts

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(range(self._counts[topic])) if topic in self._counts else None


def join(assignor: CheckedAssignor, generation: int, topics: Topics, *leads: str) -> None:
    """Join the group once; `leads` are its members when this one leads it."""
    assignor.metadata(["text"])
    members = [
        SimpleNamespace(member_id=name, group_instance_id=None, metadata=SimpleNamespace(topics=["text"]))
        for name in leads
    ]
    shares: dict[str, Any] = assignor.assign(topics, members) if members else {}
    assignor.on_assignment(next(iter(shares.values()), None), generation)


def test_a_new_assignment_in_a_new_generation_holds() -> None:
    assignor = CheckedAssignor()
    join(assignor, 1, Topics(), "a", "b")
    join(assignor, 2, Topics(text=2), "a", "b")
    assert not assignor.overruled


def test_a_new_assignment_in_the_same_generation_was_ignored() -> None:
    assignor = CheckedAssignor()
    join(assignor, 0, Topics(), "a", "b")
    join(assignor, 0, Topics(text=2), "a", "b")
    assert assignor.overruled
    join(assignor, 0, Topics(text=2), "a", "b")
    assert assignor.overruled
    join(assignor, 1, Topics(text=2), "a", "b")
    assert not assignor.overruled


def test_it_is_seen_by_a_leader_whose_own_share_is_the_same() -> None:
    assignor = CheckedAssignor()
    join(assignor, 0, Topics(), "a", "b", "c")
    join(assignor, 0, Topics(text=2), "a", "b", "c")
    assert assignor.overruled


def test_the_same_assignment_again_is_no_reason_to_leave() -> None:
    assignor = CheckedAssignor()
    join(assignor, 0, Topics(text=2), "a", "b")
    join(assignor, 0, Topics(text=2), "a", "b")
    assert not assignor.overruled


def test_a_broker_that_counts_from_0_again_overrules_no_member() -> None:
    assignor = CheckedAssignor()
    join(assignor, 0, Topics(text=2), "a", "b")
    join(assignor, 0, Topics(text=2), "c", "d")
    assert not assignor.overruled


def test_a_member_that_does_not_lead_is_never_overruled() -> None:
    assignor = CheckedAssignor()
    join(assignor, 0, Topics())
    join(assignor, 0, Topics(text=2))
    assert not assignor.overruled
