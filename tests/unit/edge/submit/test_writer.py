"""Intake: batches with an outcome per caller, chunks before jobs, a notification for what is new, nothing half done."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from uuid import UUID

import pytest

from edge.submit import writer as intake_module
from edge.submit.writer import JobWriter
from shared.domain.errors import BadRequest, Overloaded, StoreUnavailable
from shared.domain.job import NewJob, PayloadRef
from shared.domain.store_interface import INLINE_REQUEST_BYTES, UNOWNED_SECONDS
from tests.support.fakes.store import FakeStore
from tests.support.jobs import eventually, new_job


class Notifications:
    """Remembers what was notified."""

    def __init__(self) -> None:
        self.notified: list[tuple[str, list[UUID]]] = []

    def publish(self, modality: str, ids: Sequence[UUID]) -> None:
        self.notified.append((modality, list(ids)))


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def notifications() -> Notifications:
    return Notifications()


@pytest.fixture
def job_writer(store: FakeStore, notifications: Notifications) -> JobWriter:
    return JobWriter(store, notifications)


def job(store: FakeStore, **fields: object) -> NewJob:
    return new_job(store.now(), **fields)  # type: ignore[arg-type]


async def test_those_who_come_together_travel_together_and_notify_once(
    store: FakeStore, notifications: Notifications, job_writer: JobWriter
) -> None:
    jobs = [job(store) for _ in range(20)]
    await asyncio.gather(*[job_writer.take(each) for each in jobs])
    assert store.calls["submit"] == 1
    assert set(store.jobs) == {each.id for each in jobs}
    assert notifications.notified == [("embeddings", [each.id for each in jobs])]


async def test_one_bad_job_fails_alone_and_is_not_notified(
    store: FakeStore, notifications: Notifications, job_writer: JobWriter
) -> None:
    good, bad = job(store), job(store)
    store.faults.reject[bad.id] = BadRequest("cannot be stored")
    taken, refused = await asyncio.gather(job_writer.take(good), job_writer.take(bad), return_exceptions=True)
    assert not isinstance(taken, BaseException)
    assert isinstance(refused, BadRequest)
    assert notifications.notified == [("embeddings", [good.id])]


async def test_a_job_that_was_there_before_is_returned_and_not_notified_again(
    store: FakeStore, notifications: Notifications, job_writer: JobWriter
) -> None:
    first = job(store, fingerprint=b"f")
    await job_writer.take(first)
    again = await job_writer.take(first)
    assert again.existing is not None
    assert again.existing.id == first.id
    assert len(notifications.notified) == 1


async def test_a_large_body_is_stored_before_the_job_that_points_to_it(store: FakeStore, job_writer: JobWriter) -> None:
    verbs: list[str] = []

    async def note(verb: str) -> None:
        verbs.append(verb)

    store.faults.before = note
    small, large = job(store, body=bytes(INLINE_REQUEST_BYTES)), job(store, body=bytes(INLINE_REQUEST_BYTES + 1))
    await job_writer.take(small)
    await job_writer.take(large)
    assert verbs == ["submit", "save_request", "submit"]
    assert store.jobs[small.id].request == small.content
    reference = store.jobs[large.id].request
    assert isinstance(reference, PayloadRef)
    assert await store.load(reference) == large.content.data


async def test_an_outage_is_everybodys_error_and_nothing_is_notified(
    store: FakeStore, notifications: Notifications, job_writer: JobWriter
) -> None:
    store.faults.down = True
    with pytest.raises(StoreUnavailable):
        await job_writer.take(job(store))
    with pytest.raises(StoreUnavailable):
        await job_writer.take(job(store, body=bytes(INLINE_REQUEST_BYTES + 1)))
    assert not notifications.notified


@pytest.mark.parametrize("size", [10, INLINE_REQUEST_BYTES + 1])
async def test_a_caller_who_hangs_up_leaves_a_whole_job(
    store: FakeStore, notifications: Notifications, job_writer: JobWriter, size: int
) -> None:
    on_the_way, go_on = asyncio.Event(), asyncio.Event()

    async def hold(verb: str) -> None:
        on_the_way.set()
        await go_on.wait()

    store.faults.before = hold
    submitted = job(store, body=bytes(size))
    caller = asyncio.create_task(job_writer.take(submitted))
    await on_the_way.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go_on.set()
    await job_writer.drain()
    assert submitted.id in store.jobs
    assert notifications.notified == [("embeddings", [submitted.id])]


async def test_a_batch_that_does_not_come_back_refuses_newcomers(
    store: FakeStore, job_writer: JobWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = asyncio.Event()

    async def hold(verb: str) -> None:
        await go_on.wait()

    store.faults.before = hold
    monkeypatch.setattr(job_writer._batches, "_max_stall", 0.01)
    stuck = asyncio.create_task(job_writer.take(job(store)))

    async def refused() -> bool:
        try:
            async with asyncio.timeout(0.05):
                await job_writer.take(job(store))
        except Overloaded as error:
            return error.retry_after == 1
        except TimeoutError:
            return False
        return False

    await eventually(refused)
    go_on.set()
    await stuck


async def test_too_many_uploads_are_refused_after_a_short_wait(
    store: FakeStore, notifications: Notifications, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "MAX_UPLOADS", 2)
    job_writer = JobWriter(store, notifications)
    monkeypatch.setattr(job_writer._uploads, "_patience", 0.01)
    go_on = asyncio.Event()

    async def hold(verb: str) -> None:
        if verb == "save_request":
            await go_on.wait()

    store.faults.before = hold
    stuck = [asyncio.create_task(job_writer.take(job(store, body=bytes(9000)))) for _ in range(2)]
    await eventually(lambda: store.calls["save_request"] == 2)
    with pytest.raises(Overloaded):
        await job_writer.take(job(store, body=bytes(9000)))
    go_on.set()
    await asyncio.gather(*stuck)


async def test_a_repeated_submit_uploads_nothing(
    store: FakeStore, notifications: Notifications, job_writer: JobWriter
) -> None:
    first = job(store, body=bytes(INLINE_REQUEST_BYTES + 1), fingerprint=b"f")
    await job_writer.take(first)
    again = [await job_writer.take(first) for _ in range(3)]
    assert [each.existing is not None and each.existing.id for each in again] == [first.id] * 3
    assert (store.calls["save_request"], store.calls["submit"], len(store.payloads)) == (1, 1, 1)
    assert len(notifications.notified) == 1


async def test_a_small_or_keyless_submit_asks_for_nothing_more(store: FakeStore, job_writer: JobWriter) -> None:
    await job_writer.take(job(store, fingerprint=b"f"))
    await job_writer.take(job(store, body=bytes(INLINE_REQUEST_BYTES + 1)))
    assert dict(store.calls) == {"submit": 2, "save_request": 1}


async def test_of_uploads_under_one_key_at_once_only_that_of_the_job_stays(
    store: FakeStore, job_writer: JobWriter
) -> None:
    first = job(store, body=bytes(INLINE_REQUEST_BYTES + 1), fingerprint=b"f")
    taken = await asyncio.gather(*[job_writer.take(first) for _ in range(5)])
    await job_writer.drain()
    assert sum(each.existing is None for each in taken) == 1
    reference = store.jobs[first.id].request
    assert isinstance(reference, PayloadRef)
    assert list(store.payloads) == [reference.payload_id]


@pytest.mark.parametrize(
    ("refusal", "bodies"),
    [(BadRequest("no"), 0), (Overloaded("not sent"), 0), (StoreUnavailable("nobody knows what came of it"), 1)],
)
async def test_the_body_of_a_refused_job_is_deleted_unless_the_job_may_be_there(
    store: FakeStore, job_writer: JobWriter, refusal: Exception, bodies: int
) -> None:
    refused = job(store, body=bytes(INLINE_REQUEST_BYTES + 1))
    store.faults.reject[refused.id] = refusal
    with pytest.raises(type(refusal)):
        await job_writer.take(refused)
    await job_writer.drain()
    assert len(store.payloads) == bodies


async def test_a_body_that_cannot_be_deleted_is_left_to_the_reapers(store: FakeStore, job_writer: JobWriter) -> None:
    async def break_down(verb: str) -> None:
        if verb == "discard_request":
            raise StoreUnavailable("away")

    store.faults.before = break_down
    refused = job(store, body=bytes(INLINE_REQUEST_BYTES + 1))
    store.faults.reject[refused.id] = BadRequest("no")
    with pytest.raises(BadRequest):
        await job_writer.take(refused)
    await job_writer.drain()
    assert (store.calls["discard_request"], len(store.payloads)) == (1, 1)


async def test_a_process_that_stood_still_saves_the_body_again_before_it_says_accepted(
    store: FakeStore, job_writer: JobWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = itertools.count(0.0, UNOWNED_SECONDS)
    monkeypatch.setattr("edge.submit.writer.time.monotonic", lambda: next(seconds))
    submitted = job(store, body=bytes(INLINE_REQUEST_BYTES + 1))

    async def take_for_an_orphan(verb: str) -> None:
        if verb == "submit":
            store.payloads.clear()

    store.faults.before = take_for_an_orphan
    await job_writer.take(submitted)
    reference = store.jobs[submitted.id].request
    assert isinstance(reference, PayloadRef)
    assert await store.load(reference) == submitted.content.data
