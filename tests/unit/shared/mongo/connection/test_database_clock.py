"""Jobs are dated by the database's clock, whatever happens to the wall clock here."""

from __future__ import annotations

import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from shared.domain.errors import StoreUnavailable
from shared.mongo.connection import client as module
from shared.mongo.connection.client import Database, DatabaseClock

THEIRS = datetime(2030, 1, 1)


class Admin:
    async def command(self, name: str) -> dict[str, Any]:
        assert name == "hello"
        return {"setName": "rs0", "localTime": THEIRS}


class Client:
    """As much of the driver's client as is needed to ask for the time."""

    admin = Admin()

    def get_database(self, name: str, **_: object) -> dict[str, object]:
        return defaultdict(object)


def database() -> Database:
    return Database(Client(), "coatcheck", 3.0)  # type: ignore[arg-type]


async def test_before_the_first_look_nobody_knows_the_time() -> None:
    with pytest.raises(StoreUnavailable, match="not known"):
        database().now()


async def test_setting_our_wall_clock_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    db = database()
    await db.read_clock()

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(minutes=10)

    monkeypatch.setattr(module, "datetime", Wrong)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert abs(db.now() - THEIRS.replace(tzinfo=UTC)) < timedelta(seconds=20)
    assert db.now().microsecond % 1000 == 0


class Slow:
    """A database whose hello takes as long as it is told; the search for a primary comes before its answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 0.0
        self.ahead = timedelta()
        self.answers: list[float] = []
        ours = SimpleNamespace(monotonic=lambda: self.seconds, perf_counter=time.perf_counter)
        monkeypatch.setattr(module, "time", ours)
        self.database = database()
        self.database.client.admin = self  # type: ignore[attr-defined]
        self.database._clock = DatabaseClock(lambda: self.seconds)

    async def command(self, name: str) -> dict[str, Any]:
        self.seconds += self.answers.pop(0) if self.answers else 0.001
        return {"setName": "rs0", "localTime": self.theirs().replace(tzinfo=None)}

    def theirs(self) -> datetime:
        return THEIRS.replace(tzinfo=UTC) + self.ahead + timedelta(seconds=self.seconds)

    @property
    def off(self) -> float:
        """By how much the idea of the database's clock is ahead."""
        return (self.database.now() - self.theirs()).total_seconds()


@pytest.mark.parametrize("first_look", [True, False])
async def test_a_round_trip_that_contains_an_election_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, first_look: bool
) -> None:
    slow = Slow(monkeypatch)
    if not first_look:
        await slow.database.read_clock()
        slow.seconds += 10
    slow.answers = [2.6]
    await slow.database.read_clock()
    assert abs(slow.off) < 0.005


async def test_when_all_round_trips_are_slow_the_last_good_comparison_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)
    await slow.database.read_clock()
    for _ in range(20):
        slow.seconds += 10
        slow.answers = [1.0, 2.0, 3.0]
        await slow.database.read_clock()
        assert abs(slow.off) < 0.005


async def test_a_database_that_is_always_slow_is_believed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)
    slow.answers = [0.3, 0.3, 0.3]
    await slow.database.read_clock()
    assert abs(slow.off) < 0.151
    slow.ahead = timedelta(seconds=1)
    for _ in range(10):
        slow.seconds += 10
        slow.answers = [0.3, 0.3, 0.3]
        await slow.database.read_clock()
    assert abs(slow.off) < 0.151


@pytest.mark.parametrize("seconds", [-2.0, 2.0])
async def test_another_clock_of_a_new_primary_is_reached_without_a_jump(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    slow = Slow(monkeypatch)
    await slow.database.read_clock()
    slow.ahead = timedelta(seconds=seconds)
    before = slow.database.now()
    await slow.database.read_clock()
    for _ in range(250):
        slow.seconds += 0.1
        step = (slow.database.now() - before).total_seconds()
        assert 0.08 < step < 0.12
        before = slow.database.now()
    assert abs(slow.off) < 0.005


async def test_a_database_whose_clock_was_set_is_followed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)
    await slow.database.read_clock()
    slow.ahead = timedelta(hours=1)
    await slow.database.read_clock()
    assert abs(slow.off) < 0.005
