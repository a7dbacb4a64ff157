"""Virtual keys on a real database: made, revoked, rotated, expired."""

from __future__ import annotations

from datetime import timedelta

import pytest

from shared.domain.virtual_keys import PREFIX, hash_secret
from shared.mongo.connection.client import Database
from shared.mongo.keys import KeyStore, NameTaken
from shared.mongo.mongo_store import MongoStore
from tests.support.jobs import eventually


async def test_a_new_key_opens_the_door_at_once_and_its_secret_is_not_stored(
    keys: KeyStore, store: MongoStore, database: Database
) -> None:
    key, secret = await keys.create("ci", ["openai/*"])
    assert secret.startswith(PREFIX)
    assert secret.endswith(key.hint)
    assert await store.find_key(hash_secret(secret)) == key
    assert secret not in str(await database.keys.find().to_list())


async def test_secrets_do_not_repeat_and_are_long_enough(keys: KeyStore) -> None:
    secrets = [(await keys.create(f"key {number}"))[1] for number in range(20)]
    assert len(set(secrets)) == 20
    assert min(map(len, secrets)) >= len(PREFIX) + 43


async def test_a_revoked_key_opens_nothing_and_stays_in_the_list(keys: KeyStore, store: MongoStore) -> None:
    key, secret = await keys.create("ci")
    assert await keys.usable()
    revoked = await keys.revoke(key.id)
    assert revoked is not None
    assert revoked.revoked_at is not None
    assert await keys.revoke(key.id) == revoked, "the time of the first revocation counts"
    assert await store.find_key(hash_secret(secret)) is None
    assert await keys.list() == [revoked]
    assert not await keys.usable()
    assert await keys.rotate(key.id) is None, "a revoked key is revoked for ever"


async def test_a_rotated_key_keeps_its_identity_and_loses_its_old_secret(keys: KeyStore, store: MongoStore) -> None:
    key, old = await keys.create("ci", ["local/minilm"])
    rotated = await keys.rotate(key.id)
    assert rotated is not None
    again, new = rotated
    assert (again.id, again.name, again.models) == (key.id, key.name, key.models)
    assert await store.find_key(hash_secret(old)) is None
    assert await store.find_key(hash_secret(new)) == again


async def test_an_expired_key_opens_nothing_by_the_databases_clock(keys: KeyStore, store: MongoStore) -> None:
    end = store.now() + timedelta(seconds=0.5)
    key, secret = await keys.create("ci", expires_at=end)
    assert key.expires_at == end
    _, lasting = await keys.create("lasting", expires_at=store.now() + timedelta(hours=1))
    assert await store.find_key(hash_secret(lasting)) is not None

    async def closed() -> bool:
        return await store.find_key(hash_secret(secret)) is None

    await eventually(closed)
    assert store.now() >= end
    assert [each.name for each in await keys.list()] == ["ci", "lasting"]


async def test_an_installation_with_expired_keys_alone_has_none_that_works(keys: KeyStore, store: MongoStore) -> None:
    await keys.create("ci", expires_at=store.now() - timedelta(seconds=1))
    assert not await keys.usable()


async def test_a_name_belongs_to_one_key_until_that_is_revoked(keys: KeyStore) -> None:
    key, _ = await keys.create("ci")
    with pytest.raises(NameTaken, match="there is a key called 'ci' already"):
        await keys.create("ci")
    assert await keys.named("ci") == await keys.named(key.id) == key.id
    await keys.revoke(key.id)
    assert await keys.named("ci") is None
    again, _ = await keys.create("ci")
    assert await keys.named("ci") == again.id


async def test_of_keys_made_before_names_were_unique_none_is_changed_by_name(
    keys: KeyStore, database: Database
) -> None:
    one, _ = await keys.create("one")
    other, _ = await keys.create("other")
    await database.keys.update_many({}, {"$set": {"name": "ci"}})
    with pytest.raises(NameTaken, match="several keys are called 'ci'") as said:
        await keys.named("ci")
    assert one.id in str(said.value)
    assert other.id in str(said.value)


async def test_a_key_that_is_not_there_is_neither_revoked_nor_rotated(keys: KeyStore) -> None:
    assert await keys.revoke("$ne") is None
    assert await keys.rotate("nobody") is None
    assert await keys.named("$ne") is None


async def test_a_name_is_stored_as_it_is_even_when_it_looks_like_an_expression(keys: KeyStore) -> None:
    key, _ = await keys.create("$hash", ["$$NOW"])
    await keys.rotate(key.id)
    (listed,) = await keys.list()
    assert (listed.name, listed.models) == ("$hash", ("$$NOW",))
