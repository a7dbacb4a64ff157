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

from edge.collect import Collector, visible
from edge.principal import Principals
from shared.errors import NotFound, StoreUnavailable
from shared.ids import keyed_job_id, new_job_id
from shared.job import JobView, Status
from tests.support.fake_store import FakeClock, FakeStore
from tests.support.jobs import new_job

NOW = FakeClock().now()
VIEW = JobView(uuid4(), "embedding", Status.COMPLETED, NOW, expires_at=NOW + timedelta(seconds=1), body=b"{}")


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def collector(store: FakeStore) -> Collector:
    return Collector(store, Principals(store, lambda: 0.0, allow_anonymous=True))


def test_a_job_ends_to_be_visible_at_the_instant_it_expires() -> None:
    for milliseconds, shown in [(999, True), (1000, False), (1001, False)]:
        assert visible(VIEW, None, "embedding", NOW + timedelta(milliseconds=milliseconds)) is shown


def test_a_job_that_has_not_ended_does_not_expire() -> None:
    running = replace(VIEW, status=Status.PROCESSING, expires_at=None)
    assert visible(running, None, "embedding", NOW + timedelta(days=400))


@given(
    owner=st.none() | st.sampled_from(["key-a", "key-b", ""]),
    asker=st.none() | st.sampled_from(["key-a", "key-b", ""]),
    asked=st.sampled_from(["embedding", "responses"]),
    age=st.integers(-2, 2),
)
def test_no_caller_ever_sees_another_tenants_job(owner: str | None, asker: str | None, asked: str, age: int) -> None:
    view = replace(VIEW, key_id=owner)
    shown = visible(view, asker, asked, NOW + timedelta(seconds=age))
    if shown:
        assert owner is None or owner == asker
        assert asked == view.request_type
        assert age < 1
    else:
        assert (owner is not None and owner != asker) or asked != view.request_type or age >= 1


async def stored(store: FakeStore, **fields: object) -> UUID:
    job = new_job(store.now(), job_id=new_job_id(store.now().timestamp()), **fields)  # type: ignore[arg-type]
    await store.submit([(job, None)])
    return job.id


async def test_those_who_ask_together_are_read_together(store: FakeStore, collector: Collector) -> None:
    ids = [await stored(store) for _ in range(5)] * 3
    views = await asyncio.gather(*[collector.collect(str(each), None, "embedding") for each in ids])
    assert [view.id for view in views] == ids
    assert store.calls["collect"] == 1


@pytest.mark.parametrize(
    "text", ["", "x", "%00", "{" + str(uuid4()) + "}", uuid4().hex, "../../etc", "é" * 36, "0" * 10_000, "-" * 36]
)
async def test_what_is_no_id_never_reaches_the_database(store: FakeStore, collector: Collector, text: str) -> None:
    with pytest.raises(NotFound):
        await collector.collect(text, None, "embedding")
    assert not store.calls


async def test_an_id_is_found_in_either_case(store: FakeStore, collector: Collector) -> None:
    job_id = await stored(store)
    assert (await collector.collect(str(job_id).upper(), None, "embedding")).id == job_id


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
    store: FakeStore, collector: Collector, job_id: UUID, confirmed: bool
) -> None:
    with pytest.raises(NotFound):
        await collector.collect(str(job_id), None, "embedding")
    assert store.calls["confirm"] == confirmed


async def test_a_job_that_a_deposed_primary_missed_is_found_by_the_confirmation(
    store: FakeStore, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await stored(store)

    async def blind(_ids: object) -> dict[UUID, JobView]:
        return {}

    monkeypatch.setattr(store, "collect", blind)
    assert (await collector.collect(str(job_id), None, "embedding")).id == job_id


async def test_every_reason_not_to_show_a_job_reads_the_same(store: FakeStore, collector: Collector) -> None:
    one, two = store.add_key("sk-bf-one"), store.add_key("sk-bf-two")
    scoped = str(await stored(store, key_id=one.id))
    assert (await collector.collect(scoped, b"sk-bf-one", "embedding")).key_id == one.id
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
            await collector.collect(job_id, secret, request_type)
        texts.add(caught.value.message)
    assert len(texts) == 1
    assert two.id not in texts.pop()


async def test_a_job_without_a_key_is_shown_to_any_key_without_asking_for_it(
    store: FakeStore, collector: Collector
) -> None:
    public = str(await stored(store))
    for secret in (None, b"sk-bf-unknown"):
        assert await collector.collect(public, secret, "embedding")
    assert store.calls["find_key"] == 0


async def test_a_rotated_secret_opens_old_jobs_and_a_revoked_key_does_not(store: FakeStore) -> None:
    key = store.add_key("sk-bf-old")
    job_id = str(await stored(store, key_id=key.id))
    store.keys = {digest: dataclasses.replace(each, id=key.id) for digest, each in [(store_digest("sk-bf-new"), key)]}
    fresh = Collector(store, Principals(store, lambda: 0.0, allow_anonymous=True))
    assert await fresh.collect(job_id, b"sk-bf-new", "embedding")
    store.revoke_key(key)
    fresh = Collector(store, Principals(store, lambda: 0.0, allow_anonymous=True))
    with pytest.raises(NotFound):
        await fresh.collect(job_id, b"sk-bf-new", "embedding")


def store_digest(secret: str) -> bytes:
    other = FakeStore()
    other.add_key(secret)
    return next(iter(other.keys))


async def test_an_outage_is_not_taken_for_a_missing_job(store: FakeStore, collector: Collector) -> None:
    job_id = str(await stored(store))
    store.faults.down = True
    with pytest.raises(StoreUnavailable):
        await collector.collect(job_id, None, "embedding")
