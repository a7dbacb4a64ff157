"""Jobs are dated by the database's clock, whatever happens to the wall clock here."""

from __future__ import annotations

import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.errors import StoreUnavailable
from shared.mongo import client as module
from shared.mongo.client import Database

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
