"""Intake: batches with an outcome per caller, chunks before jobs, a bell for what is new, nothing half done."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest

from edge import intake as intake_module
from edge.intake import INLINE_BYTES, Intake
from shared.errors import BadRequest, Overloaded, StoreUnavailable
from shared.job import NewJob, PayloadRef
from tests.support.fake_store import FakeStore
from tests.support.jobs import eventually, new_job


class Bells:
    """Remembers what was rung."""

    def __init__(self) -> None:
        self.rung: list[tuple[str, list[UUID]]] = []

    def ring(self, modality: str, ids: Sequence[UUID]) -> None:
        self.rung.append((modality, list(ids)))


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def bells() -> Bells:
    return Bells()


@pytest.fixture
def intake(store: FakeStore, bells: Bells) -> Intake:
    return Intake(store, bells)


def job(store: FakeStore, **fields: object) -> NewJob:
    return new_job(store.now(), **fields)  # type: ignore[arg-type]


async def test_those_who_come_together_travel_together_and_ring_once(
    store: FakeStore, bells: Bells, intake: Intake
) -> None:
    jobs = [job(store) for _ in range(20)]
    await asyncio.gather(*[intake.take(each) for each in jobs])
    assert store.calls["submit"] == 1
    assert set(store.jobs) == {each.id for each in jobs}
    assert bells.rung == [("embeddings", [each.id for each in jobs])]


async def test_one_bad_job_fails_alone_and_is_not_rung(store: FakeStore, bells: Bells, intake: Intake) -> None:
    good, bad = job(store), job(store)
    store.faults.reject[bad.id] = BadRequest("cannot be stored")
    taken, refused = await asyncio.gather(intake.take(good), intake.take(bad), return_exceptions=True)
    assert not isinstance(taken, BaseException)
    assert isinstance(refused, BadRequest)
    assert bells.rung == [("embeddings", [good.id])]


async def test_a_job_that_was_there_before_is_returned_and_not_rung_again(
    store: FakeStore, bells: Bells, intake: Intake
) -> None:
    first = job(store, fingerprint=b"f")
    await intake.take(first)
    again = await intake.take(first)
    assert again.existing is not None
    assert again.existing.id == first.id
    assert len(bells.rung) == 1


async def test_a_large_body_is_stored_before_the_job_that_points_to_it(store: FakeStore, intake: Intake) -> None:
    verbs: list[str] = []

    async def note(verb: str) -> None:
        verbs.append(verb)

    store.faults.before = note
    small, large = job(store, body=bytes(INLINE_BYTES)), job(store, body=bytes(INLINE_BYTES + 1))
    await intake.take(small)
    await intake.take(large)
    assert verbs == ["submit", "save_request", "submit"]
    assert store.jobs[small.id].request == small.content
    reference = store.jobs[large.id].request
    assert isinstance(reference, PayloadRef)
    assert await store.load(reference) == large.content.data


async def test_an_outage_is_everybodys_error_and_nothing_is_rung(
    store: FakeStore, bells: Bells, intake: Intake
) -> None:
    store.faults.down = True
    with pytest.raises(StoreUnavailable):
        await intake.take(job(store))
    with pytest.raises(StoreUnavailable):
        await intake.take(job(store, body=bytes(INLINE_BYTES + 1)))
    assert not bells.rung


@pytest.mark.parametrize("size", [10, INLINE_BYTES + 1])
async def test_a_caller_who_hangs_up_leaves_a_whole_job(
    store: FakeStore, bells: Bells, intake: Intake, size: int
) -> None:
    on_the_way, go_on = asyncio.Event(), asyncio.Event()

    async def hold(verb: str) -> None:
        on_the_way.set()
        await go_on.wait()

    store.faults.before = hold
    submitted = job(store, body=bytes(size))
    caller = asyncio.create_task(intake.take(submitted))
    await on_the_way.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go_on.set()
    await intake.drain()
    assert submitted.id in store.jobs
    assert bells.rung == [("embeddings", [submitted.id])]


async def test_a_batch_that_does_not_come_back_refuses_newcomers(
    store: FakeStore, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = asyncio.Event()

    async def hold(verb: str) -> None:
        await go_on.wait()

    store.faults.before = hold
    monkeypatch.setattr(intake._batches, "_max_stall", 0.01)
    stuck = asyncio.create_task(intake.take(job(store)))

    async def refused() -> bool:
        try:
            async with asyncio.timeout(0.05):
                await intake.take(job(store))
        except Overloaded as error:
            return error.retry_after == 1
        except TimeoutError:
            return False
        return False

    await eventually(refused)
    go_on.set()
    await stuck


async def test_too_many_uploads_are_refused_after_a_short_wait(
    store: FakeStore, bells: Bells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "MAX_UPLOADS", 2)
    intake = Intake(store, bells)
    monkeypatch.setattr(intake._uploads, "_patience", 0.01)
    go_on = asyncio.Event()

    async def hold(verb: str) -> None:
        if verb == "save_request":
            await go_on.wait()

    store.faults.before = hold
    stuck = [asyncio.create_task(intake.take(job(store, body=bytes(9000)))) for _ in range(2)]
    await eventually(lambda: store.calls["save_request"] == 2)
    with pytest.raises(Overloaded):
        await intake.take(job(store, body=bytes(9000)))
    go_on.set()
    await asyncio.gather(*stuck)
