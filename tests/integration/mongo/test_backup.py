"""What the operators' guide says to back up is enough: keys open the door, and repeated submits find the same ids."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from shared.domain.virtual_keys import hash_secret
from shared.mongo.connection.client import Database, connect
from shared.mongo.keys import KeyStore
from shared.mongo.mongo_store import MongoStore
from shared.mongo.setup import ensure_indexes
from shared.settings.table import Settings

GUIDE = Path(__file__).parents[3] / "docs" / "operations.md"


@pytest.mark.parametrize("kept", ["what the guide says", "nothing"])
async def test_keys_and_the_secret_of_ids_survive_with_the_collections_that_the_guide_names(
    database: Database, settings: Settings, kept: str
) -> None:
    _, secret = await KeyStore(database).create("ci")
    derived_from = await MongoStore(database, settings).id_secret()
    named = re.findall(r"^mongodump .*--collection (\w+) ", GUIDE.read_text(), re.MULTILINE)
    assert set(named) == {"keys", "meta"}
    restored_to = msgspec.structs.replace(settings, mongodb_database=f"{settings.mongodb_database}_restored")
    async with connect(restored_to, role="operator", wait=30) as restored:
        for name in named if kept == "what the guide says" else ():
            await restored.collection(name).insert_many(await database.collection(name).find().to_list())
        await ensure_indexes(restored)
        store = MongoStore(restored, restored_to)
        assert (await store.find_key(hash_secret(secret)) is not None) == (kept != "nothing")
        assert (await store.id_secret() == derived_from) == (kept != "nothing")
        await restored.client.drop_database(restored_to.mongodb_database)
