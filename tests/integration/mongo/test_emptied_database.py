"""A database that was emptied behind everybody's back is one with other secrets, and every edge learns of it."""

from __future__ import annotations

import pytest

from shared.mongo import edge_store
from shared.mongo.connection.client import Database
from shared.mongo.mongo_store import MongoStore
from shared.settings.table import Settings


async def test_edges_agree_on_the_id_secret_again_after_the_database_was_emptied(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = MongoStore(database, settings), MongoStore(database, settings)
    secret = await old.id_secret()
    await database.meta.delete_many({})
    made = await new.id_secret()
    assert made != secret
    assert await old.id_secret() == secret
    monkeypatch.setattr(edge_store, "SECRET_SECONDS", 0.0)
    assert await old.id_secret() == made
    assert await new.id_secret() == made
