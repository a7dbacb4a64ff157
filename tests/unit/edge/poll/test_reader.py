"""Collecting: who may see what, one read for many, misses confirmed only where a job can be new."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from edge.poll.reader import JobReader, visible
from edge.submit.auth import KeyLookup
from shared.domain.errors import NotFound, StoreUnavailable
from shared.domain.ids import keyed_job_id, new_job_id
from shared.domain.job import JobView, Status
from tests.support.fakes.store import FakeClock, FakeStore
from tests.support.jobs import new_job

NOW = FakeClock().now()
VIEW = JobView(uuid4(), "embedding", Status.COMPLETED, NOW, expires_at=NOW + timedelta(seconds=1), body=b"{}")


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def job_reader(store: FakeStore) -> JobReader:
    return JobReader(store, KeyLookup(store, lambda: 0.0, allow_anonymous=True))


def test_a_job_is_visible_until_the_database_says_that_its_time_is_up() -> None:
    assert visible(VIEW, None, "embedding")
    assert not visible(replace(VIEW, expired=True), None, "embedding")


@given(
    owner=st.none() | st.sampled_from(["key-a", "key-b", ""]),
    asker=st.none() | st.sampled_from(["key-a", "key-b", ""]),
    asked=st.sampled_from(["embedding", "responses"]),
    expired=st.booleans(),
)
def test_no_caller_ever_sees_another_tenants_job(
    owner: str | None, asker: str | None, asked: str, expired: bool
) -> None:
    view = replace(VIEW, key_id=owner, expired=expired)
    shown = visible(view, asker, asked)
    if shown:
        assert owner is None or owner == asker
        assert asked == view.request_type
        assert not expired
    else:
        assert (owner is not None and owner != asker) or asked != view.request_type or expired


async def stored(store: FakeStore, **fields: object) -> UUID:
    job = new_job(store.now(), job_id=new_job_id(store.now().timestamp()), **fields)  # type: ignore[arg-type]
    await store.submit([(job, None)])
    return job.id


async def test_those_who_ask_together_are_read_together(store: FakeStore, job_reader: JobReader) -> None:
    ids = [await stored(store) for _ in range(5)] * 3
    views = await asyncio.gather(*[job_reader.collect(str(each), None, "embedding") for each in ids])
    assert [view.id for view in views] == ids
    assert store.calls["collect"] == 1


@pytest.mark.parametrize(
    "text", ["", "x", "%00", "{" + str(uuid4()) + "}", uuid4().hex, "../../etc", "é" * 36, "0" * 10_000, "-" * 36]
)
async def test_what_is_no_id_never_reaches_the_database(store: FakeStore, job_reader: JobReader, text: str) -> None:
    with pytest.raises(NotFound):
        await job_reader.collect(text, None, "embedding")
    assert not store.calls


async def test_an_id_is_found_in_either_case(store: FakeStore, job_reader: JobReader) -> None:
    job_id = await stored(store)
    assert (await job_reader.collect(str(job_id).upper(), None, "embedding")).id == job_id


@pytest.mark.parametrize(
    ("job_id", "confirmed"),
    [
        (new_job_id(NOW.timestamp()), True),
        (new_job_id(NOW.timestamp() - 59), True),
        (new_job_id(NOW.timestamp() - 61), False),
        (new_job_id(NOW.timestamp() + 61), False),
        (keyed_job_id(b"secret", None, "key"), True),
        (uuid4(), False),
        (UUID(int=0), False),
    ],
)
async def test_a_miss_is_confirmed_only_where_a_job_can_be_new(
    store: FakeStore, job_reader: JobReader, job_id: UUID, confirmed: bool
) -> None:
    with pytest.raises(NotFound):
        await job_reader.collect(str(job_id), None, "embedding")
    assert store.calls["confirm"] == confirmed


async def test_a_job_that_a_deposed_primary_missed_is_found_by_the_confirmation(
    store: FakeStore, job_reader: JobReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await stored(store)

    async def blind(_ids: object) -> dict[UUID, JobView]:
        return {}

    monkeypatch.setattr(store, "collect", blind)
    assert (await job_reader.collect(str(job_id), None, "embedding")).id == job_id


async def test_every_reason_not_to_show_a_job_reads_the_same(store: FakeStore, job_reader: JobReader) -> None:
    one, two = store.add_key("sk-bf-one"), store.add_key("sk-bf-two")
    scoped = str(await stored(store, key_id=one.id))
    assert (await job_reader.collect(scoped, b"sk-bf-one", "embedding")).key_id == one.id
    asked: list[tuple[str, bytes | None, str]] = [
        (scoped, b"sk-bf-two", "embedding"),
        (scoped, b"sk-bf-unknown", "embedding"),
        (scoped, None, "embedding"),
        (scoped, b"sk-bf-one", "responses"),
        (str(new_job_id(NOW.timestamp())), b"sk-bf-one", "embedding"),
        ("nonsense", b"sk-bf-one", "embedding"),
    ]
    texts = set()
    for job_id, secret, request_type in asked:
        with pytest.raises(NotFound) as caught:
            await job_reader.collect(job_id, secret, request_type)
        texts.add(caught.value.message)
    assert len(texts) == 1
    assert two.id not in texts.pop()


async def test_a_job_without_a_key_is_shown_to_any_key_without_asking_for_it(
    store: FakeStore, job_reader: JobReader
) -> None:
    public = str(await stored(store))
    for secret in (None, b"sk-bf-unknown"):
        assert await job_reader.collect(public, secret, "embedding")
    assert store.calls["find_key"] == 0


async def test_a_rotated_secret_opens_old_jobs_and_a_revoked_key_does_not(store: FakeStore) -> None:
    key = store.add_key("sk-bf-old")
    job_id = str(await stored(store, key_id=key.id))
    store.keys = {digest: dataclasses.replace(each, id=key.id) for digest, each in [(store_digest("sk-bf-new"), key)]}
    fresh = JobReader(store, KeyLookup(store, lambda: 0.0, allow_anonymous=True))
    assert await fresh.collect(job_id, b"sk-bf-new", "embedding")
    store.revoke_key(key)
    fresh = JobReader(store, KeyLookup(store, lambda: 0.0, allow_anonymous=True))
    with pytest.raises(NotFound):
        await fresh.collect(job_id, b"sk-bf-new", "embedding")


def store_digest(secret: str) -> bytes:
    other = FakeStore()
    other.add_key(secret)
    return next(iter(other.keys))


async def test_an_outage_is_not_taken_for_a_missing_job(store: FakeStore, job_reader: JobReader) -> None:
    job_id = str(await stored(store))
    store.faults.down = True
    with pytest.raises(StoreUnavailable):
        await job_reader.collect(job_id, None, "embedding")
