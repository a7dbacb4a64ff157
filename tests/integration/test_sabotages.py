"""A sabotage takes effect: what a check of the drill shall notice is really gone, and nothing beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from edge.poll import reader
from edge.submit import submission
from edge.submit.submission import Submissions
from edge.submit.writer import JobWriter
from shared.domain.errors import StoreUnavailable
from shared.domain.job import Finish, JobView, Record, Release, Status
from shared.domain.store_interface import Accepted
from shared.mongo.connection.client import Database
from shared.mongo.documents import transitions
from shared.mongo.mongo_store import MongoStore
from shared.mongo.setup import check_indexes
from shared.settings.table import Settings
from shared.telemetry import metrics_files
from tests.sabotage.__main__ import SABOTAGE
from tests.support.fakes.store import FakeClock, FakeStore
from tests.support.jobs import new_job
from tests.support.servers.raw_provider import HEAD, Line, raw
from workers.execution import attempt
from workers.execution.retry import RetryPolicy
from workers.provider_interface import ProviderError
from workers.providers.transport.connection import Connection
from workers.reaper.service import Reaper

PATCHED: tuple[Any, ...] = (
    *(transitions, reader, submission, metrics_files, attempt),
    *(JobWriter, Submissions, Reaper, Connection),
)


@pytest.fixture(autouse=True)
def _undone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a sabotage replaced is as before after the test."""
    monkeypatch.setenv(metrics_files.VARIABLE, "")
    before = [(target, name, value) for target in PATCHED for name, value in vars(target).items()]
    yield
    for target, name, value in before:
        if not name.startswith("__"):
            setattr(target, name, value)


@pytest.fixture
def store(database: Database, settings: Settings) -> MongoStore:
    return MongoStore(database, settings)


def sabotage(name: str) -> None:
    SABOTAGE[name]()
    metrics_files.one_process()


async def held(store: MongoStore) -> tuple[UUID, UUID]:
    """A job that is held, and by which lease."""
    job, lease = new_job(store.now()), uuid4()
    await store.submit([(job, None)])
    assert await store.claim([job.id], lease=lease, worker="w", suspects=False)
    return job.id, lease


def finish(job_id: UUID, lease: UUID, body: bytes = b'{"late":1}') -> Finish:
    return Finish(job_id, lease, Status.COMPLETED, 200, body, 60)


def release(job_id: UUID, lease: UUID) -> Release:
    return Release(job_id, lease, 60.0, failures=0, target=0)


async def written(store: MongoStore, record: Record) -> bool:
    return (await store.record([record])) == [True]


async def test_without_fencing_of_renewals_a_lost_lease_is_kept(store: MongoStore) -> None:
    job_id, _ = await held(store)
    assert await store.renew({job_id: uuid4()}, ()) == {job_id}
    sabotage("without_fencing_of_renewals")
    assert await store.renew({job_id: uuid4()}, ()) == set()
    assert not await written(store, finish(job_id, uuid4()))
    assert not await written(store, release(job_id, uuid4()))


async def test_without_fencing_of_outcomes_the_last_one_wins(store: MongoStore) -> None:
    job_id, lease = await held(store)
    assert await written(store, finish(job_id, lease, b'{"first":1}'))
    assert not await written(store, finish(job_id, uuid4()))
    sabotage("without_fencing_of_outcomes")
    assert await written(store, finish(job_id, uuid4()))
    assert (await store.collect([job_id]))[job_id].body == b'{"late":1}'
    other, _ = await held(store)
    assert await store.renew({other: uuid4()}, ()) == {other}
    assert not await written(store, release(other, uuid4()))


async def test_without_fencing_of_releases_an_ended_job_is_pending_again(store: MongoStore) -> None:
    job_id, lease = await held(store)
    assert await written(store, finish(job_id, lease))
    assert not await written(store, release(job_id, uuid4()))
    sabotage("without_fencing_of_releases")
    assert await written(store, release(job_id, uuid4()))
    assert (await store.collect([job_id]))[job_id].status is Status.PENDING
    other, _ = await held(store)
    assert not await written(store, finish(other, uuid4()))


async def test_without_ttl_nothing_expires_of_itself(store: MongoStore, database: Database) -> None:
    assert await check_indexes(database) == []
    sabotage("without_ttl")
    for _ in range(2):
        await Reaper(store, 0).run_once()
    assert [each.split()[1] for each in await check_indexes(database)] == [
        "jobs.expires_at_ttl",
        "payloads.expires_at_ttl",
    ]


def ended_view(*, expired: bool = False) -> JobView:
    return JobView(uuid4(), "embedding", Status.COMPLETED, FakeClock().now(), key_id="key-a", expired=expired)


def test_without_expiry_filter_an_expired_result_is_shown_to_its_owner_only() -> None:
    view = ended_view(expired=True)
    assert not reader.visible(view, "key-a", "embedding")
    sabotage("without_expiry_filter")
    assert reader.visible(view, "key-a", "embedding")
    assert not reader.visible(view, "key-b", "embedding")
    assert not reader.visible(view, "key-a", "responses")


def test_without_key_check_another_key_sees_what_is_not_expired() -> None:
    view = ended_view()
    assert not reader.visible(view, "key-b", "embedding")
    sabotage("without_key_check")
    assert reader.visible(view, "key-b", "embedding")
    assert reader.visible(view, None, "embedding")
    assert not reader.visible(ended_view(expired=True), "key-b", "embedding")


async def test_without_idempotency_the_same_key_makes_another_id() -> None:
    sabotage("without_idempotency")
    submissions = Submissions(*[None] * 5)  # type: ignore[arg-type]
    assert await submissions._keyed_id(None, "k") != await submissions._keyed_id(None, "k")


def test_without_idempotency_fingerprint_any_two_requests_are_the_same() -> None:
    def prints() -> set[bytes]:
        return {vars(submission)["fingerprint"]("embedding", body, (), False) for body in (b"one", b"two")}

    assert len(prints()) == 2
    sabotage("without_idempotency_fingerprint")
    assert len(prints()) == 1


class Bellless:
    def publish(self, modality: str, ids: object) -> None: ...


async def test_without_waiting_for_the_write_a_job_is_accepted_that_cannot_be_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def unreachable(*_: object) -> list[Any]:
        raise StoreUnavailable("no primary")

    store = FakeStore()
    monkeypatch.setattr(store, "submit", unreachable)
    job_writer = JobWriter(store, Bellless())
    with pytest.raises(StoreUnavailable):
        await job_writer.take(new_job())
    sabotage("without_waiting_for_the_write")
    assert await job_writer.take(new_job()) == Accepted()
    with pytest.raises(StoreUnavailable):
        await job_writer.take(new_job(fingerprint=b"keyed"))
    await job_writer.drain()
    await asyncio.sleep(0)


async def test_without_end_of_answers_half_an_answer_is_whole() -> None:
    async def serve(line: Line) -> None:
        await line.request()
        await line.say(HEAD + b"content-length: 10\r\n\r\nhalf")
        line.writer.close()

    async with raw(serve) as server:
        await server.failure()
        sabotage("without_end_of_answers")
        assert (await server.call()).body == b"half"


def test_without_failure_budget_the_hundredth_failure_is_retried_unless_it_is_final() -> None:
    policy = RetryPolicy(3, 1.0, 10.0)
    passing = ProviderError("busy", status_code=500, error_type="e", retryable=True)
    final = ProviderError("wrong", status_code=400, error_type="e", retryable=False)

    def retry_in(error: ProviderError, failures: int) -> object:
        return vars(attempt)["retry_in"](error, failures, policy, 0.5)

    assert retry_in(passing, 3) is None
    sabotage("without_failure_budget")
    assert retry_in(passing, 100) is not None
    assert retry_in(final, 1) is None
