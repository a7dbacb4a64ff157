"""What every store does: one suite for the in-memory fake that unit tests use and for MongoDB."""

from __future__ import annotations

import asyncio
import math
import os
import random
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import msgspec
import pytest

from shared.domain.job import (
    AttemptRecord,
    ClaimedJob,
    ExpiredJob,
    ExpiryResult,
    Finish,
    NewJob,
    PayloadRef,
    Release,
    Status,
)
from shared.domain.store_interface import Accepted, Rejected
from shared.domain.target import Target
from shared.mongo.mongo_store import MongoStore
from tests.support.fakes.store import FakeStore
from tests.support.http_api import Store
from tests.support.jobs import eventually, new_job

SEED = 20_260_711
NOTE = AttemptRecord("w", "openai", "ok", 12, "$upstream")


async def submitted(store: Store, **fields: object) -> NewJob:
    job = new_job(store.now(), **fields)  # type: ignore[arg-type]
    assert await store.submit([(job, None)]) == [Accepted()]
    return job


async def claimed(store: Store, job: NewJob, *, suspects: bool = False) -> ClaimedJob:
    (held,) = await eventually(lambda: store.claim([job.id], lease=uuid4(), worker="w", suspects=suspects))
    return held


async def called(store: Store, job: NewJob, *, suspects: bool = False) -> ClaimedJob:
    """Claimed, and the store knows that a provider call has begun."""
    held = await claimed(store, job, suspects=suspects)
    assert await store.renew({held.id: held.lease}, {held.id}) == set()
    return held


def completed(held: ClaimedJob, body: bytes = b'{"ok":true}') -> Finish:
    return Finish(held.id, held.lease, Status.COMPLETED, 200, body, held.result_ttl)


async def lose_time_to_wake(store: Store, job: NewJob | ClaimedJob, deadline_at: datetime) -> None:
    """Damage a stored job as somebody might who changes documents by hand."""
    if isinstance(store, FakeStore):
        stored = store.jobs[job.id]
        stored.wake_at, stored.job = None, msgspec.structs.replace(stored.job, deadline_at=deadline_at)
    else:
        assert isinstance(store, MongoStore)
        change = {"$unset": {"wake_at": 1}, "$set": {"deadline_at": deadline_at}}
        await store._db.jobs.update_one({"_id": job.id}, change)


def end_late(job: ExpiredJob) -> ExpiryResult:
    return ExpiryResult(
        "deadline" if job.past_deadline else "crashes", 504 if job.past_deadline else 500, b'{"error":{}}'
    )


async def test_a_submitted_job_is_read_back_as_pending(store: Store) -> None:
    job = await submitted(store, key_id="k1")
    view = (await store.collect([job.id]))[job.id]
    assert (view.status, view.request_type, view.key_id, view.body) == (Status.PENDING, "embedding", "k1", None)
    assert abs(view.created_at - job.created_at) < timedelta(milliseconds=1)
    assert await store.confirm(job.id) == view


async def test_an_unknown_id_is_simply_missing(store: Store) -> None:
    assert await store.collect([uuid4()]) == {}
    assert await store.confirm(uuid4()) is None


async def test_one_job_that_cannot_be_stored_leaves_its_neighbours_alone(store: Store) -> None:
    good, bad = new_job(store.now()), new_job(store.now(), targets=(Target("openai", "\ud800"),))
    outcomes = await store.submit([(good, None), (bad, None)])
    assert outcomes[0] == Accepted()
    assert isinstance(outcomes[1], Rejected)
    assert set(await store.collect([good.id, bad.id])) == {good.id}


async def test_a_keyed_job_submitted_again_gives_the_stored_one(store: Store) -> None:
    first = await submitted(store, fingerprint=b"a" * 32)
    again = new_job(store.now(), job_id=first.id, fingerprint=b"b" * 32)
    (outcome,) = await store.submit([(again, None)])
    assert isinstance(outcome, Accepted)
    assert outcome.existing is not None
    assert outcome.existing.fingerprint == b"a" * 32


async def test_fifty_submits_of_one_key_at_once_make_one_job(store: Store) -> None:
    job_id = uuid4()
    jobs = [new_job(store.now(), job_id=job_id, fingerprint=b"a" * 32) for _ in range(50)]
    outcomes = await asyncio.gather(*(store.submit([(job, None)]) for job in jobs))
    accepted = [outcome for (outcome,) in outcomes if isinstance(outcome, Accepted)]
    assert len(accepted) == 50
    assert sum(outcome.existing is None for outcome in accepted) == 1


async def test_an_expired_job_makes_room_for_a_new_one_under_its_key(store: Store) -> None:
    job = await submitted(store, fingerprint=b"a" * 32, result_ttl=0)
    await store.record([completed(await claimed(store, job))])
    again = new_job(store.now(), job_id=job.id, fingerprint=b"c" * 32)
    assert await eventually(lambda: _accepted_fresh(store, again))


async def _accepted_fresh(store: Store, job: NewJob) -> bool:
    (outcome,) = await store.submit([(job, None)])
    return outcome == Accepted()


async def test_a_large_request_travels_in_chunks(store: Store) -> None:
    body = os.urandom(9 * 1024 * 1024)
    job = new_job(store.now(), body=body)
    ref = await store.save_request(job)
    await store.submit([(job, ref)])
    held = await claimed(store, job)
    assert isinstance(held.content, PayloadRef)
    assert held.content.chunks == 2
    assert await store.load(held.content) == body


async def test_a_large_result_is_streamed_back_byte_for_byte(store: Store) -> None:
    job = await submitted(store)
    body = os.urandom(9 * 1024 * 1024)
    assert await store.record([completed(await claimed(store, job), body)]) == [True]
    ref = (await store.collect([job.id]))[job.id].body
    assert isinstance(ref, PayloadRef)
    assert b"".join([chunk async for chunk in store.read_payload(ref)]) == body


async def test_a_job_is_claimed_once(store: Store) -> None:
    job = await submitted(store)
    claims = await asyncio.gather(
        *(store.claim([job.id], lease=uuid4(), worker="w", suspects=False) for _ in range(20))
    )
    assert sum(len(claim) for claim in claims) == 1


async def test_a_claim_carries_everything_a_worker_needs(store: Store) -> None:
    targets = (Target("openai", "$m"), Target("groq", "x/y", b'{"a":1}'))
    job = await submitted(store, targets=targets)
    held = await claimed(store, job)
    assert (held.content, held.targets, held.forward) == (job.content, targets, (("x-trace", "1"),))
    assert (held.claims, held.failures, held.target, held.crashes, held.releases) == (1, 0, 0, 0, 0)
    assert not held.taken_over
    assert 3500 < held.deadline_in < 3601


async def test_the_first_record_of_a_lease_counts_and_a_repeated_one_changes_nothing(store: Store) -> None:
    job = await submitted(store)
    held = await claimed(store, job)
    assert await store.record([completed(held, b'{"n":1}')]) == [True]
    first = (await store.collect([job.id]))[job.id]
    assert await store.record([completed(held, b'{"n":2}')]) == [True]
    assert (await store.collect([job.id]))[job.id] == first
    assert first.body == b'{"n":1}'
    assert first.expires_at is not None
    assert first.completed_at is not None
    assert first.expires_at - first.completed_at == timedelta(seconds=60)


async def test_a_lost_lease_records_nothing(store: Store) -> None:
    job = await submitted(store)
    slow = await claimed(store, job)
    quick = await claimed(store, job)
    assert (quick.taken_over, quick.crashes, quick.claims) == (True, 1, 2)
    assert await store.record([completed(slow, b"late")]) == [False]
    assert await store.record([completed(quick, b"won")]) == [True]
    assert await store.record([completed(slow, b"late")]) == [False]
    assert (await store.collect([job.id]))[job.id].body == b"won"


async def test_a_batch_of_records_has_an_outcome_for_each(store: Store) -> None:
    mine, theirs = await submitted(store), await submitted(store)
    held = await claimed(store, mine)
    lost = await claimed(store, theirs)
    await claimed(store, theirs)
    assert await store.record([completed(lost), completed(held)]) == [False, True]


@pytest.mark.parametrize("late_first", [True, False])
async def test_in_one_batch_only_the_record_of_the_holding_lease_counts(store: Store, late_first: bool) -> None:
    job = await submitted(store)
    slow, quick = await claimed(store, job), await claimed(store, job)
    records = [completed(slow, b"late"), completed(quick, b"won")]
    expected: list[bool] = [False, True]
    if not late_first:
        records, expected = records[::-1], expected[::-1]
    assert await store.record(records) == expected
    assert (await store.collect([job.id]))[job.id].body == b"won"


async def test_a_batch_of_all_kinds_gives_each_job_what_its_own_record_says(store: Store) -> None:
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    targets = (Target("openai", "m"), Target("groq", "m"))
    jobs = [await submitted(store, targets=targets) for _ in range(40)]
    held = [job for some in (jobs[:25], jobs[25:]) for job in await _claimed_together(store, some)]
    records = [_any_record(job, rng) for job in held]
    rng.shuffle(records)
    assert await store.record(records) == [True] * len(jobs)
    views = await store.collect([job.id for job in jobs])
    for record in records:
        view = views[record.job_id]
        if isinstance(record, Release):
            again = await claimed(store, next(job for job in jobs if job.id == record.job_id))
            assert (again.failures, again.target, again.releases) == (record.failures, record.target, record.given_back)
            continue
        assert (view.status, view.status_code, view.body) == (record.status, record.status_code, record.body)
        assert view.expires_at is not None
        assert view.completed_at is not None
        assert view.expires_at - view.completed_at == timedelta(seconds=record.result_ttl)


async def _claimed_together(store: Store, jobs: list[NewJob]) -> list[ClaimedJob]:
    return await store.claim([job.id for job in jobs], lease=uuid4(), worker="w", suspects=False)


def _any_record(job: ClaimedJob, rng: random.Random) -> Finish | Release:
    body, ttl, notes = rng.randbytes(rng.randrange(1, 2000)), rng.randrange(60, 3600), (NOTE,) * rng.randrange(3)
    match rng.randrange(4):
        case 0:
            return Finish(job.id, job.lease, Status.COMPLETED, rng.choice([200, 201]), body, ttl, notes)
        case 1:
            return Finish(job.id, job.lease, Status.FAILED, rng.choice([400, 500, 504]), body, ttl, notes)
        case kind:
            return Release(job.id, job.lease, 0.0, rng.randrange(3), rng.randrange(2), kind == 2, notes)


async def test_a_renewed_lease_is_not_taken_and_a_lost_one_is_named(store: Store) -> None:
    kept, taken = await submitted(store), await submitted(store)
    holds = [await claimed(store, kept), await claimed(store, taken)]
    leases = {held.id: held.lease for held in holds}
    thief = await claimed(store, taken)
    assert await store.renew(leases, ()) == {taken.id}
    assert await store.claim([kept.id], lease=uuid4(), worker="w", suspects=False) == []
    assert await store.renew({taken.id: thief.lease}, ()) == set()


async def test_a_released_job_is_claimable_when_due_and_keeps_its_budgets(store: Store) -> None:
    job = await submitted(store)
    held = await claimed(store, job)
    assert await store.record([Release(held.id, held.lease, 0.3, failures=2, target=0)]) == [True]
    assert await store.claim([job.id], lease=uuid4(), worker="w", suspects=False) == []
    again = await claimed(store, job)
    assert (again.failures, again.releases, again.crashes, again.taken_over) == (2, 0, 0, False)


async def test_a_give_back_spends_a_release_and_is_due_at_once(store: Store) -> None:
    job = await submitted(store)
    held = await claimed(store, job)
    await store.record([Release(held.id, held.lease, 0.0, failures=0, target=0, given_back=True)])
    assert (await claimed(store, job)).releases == 1


async def test_a_finished_job_is_never_claimed_released_or_expired(store: Store) -> None:
    job = await submitted(store)
    held = await claimed(store, job)
    await store.record([completed(held)])
    before = (await store.collect([job.id]))[job.id]
    for suspects in (False, True):
        assert await store.claim([job.id], lease=uuid4(), worker="w", suspects=suspects) == []
    await store.record([Release(held.id, held.lease, 0.0, failures=0, target=0)])
    assert await store.renew({held.id: held.lease}, ()) == {held.id}
    assert await store.expire(100, end_late) == {}
    assert (await store.collect([job.id]))[job.id] == before


async def test_the_sweep_finds_what_is_due_and_abandoned_but_not_what_is_held(store: Store) -> None:
    waiting, held, abandoned = await submitted(store), await submitted(store), await submitted(store)
    await claimed(store, abandoned)
    await eventually(lambda: _finds(store, abandoned.id))
    hold = await claimed(store, held)
    assert await store.renew({hold.id: hold.lease}, ()) == set()
    found = {due.id for due in await store.due(["embeddings"], limit=10, takeover_after=0.0)}
    assert found == {waiting.id, abandoned.id}
    found = {due.id for due in await store.due(["embeddings"], limit=10, takeover_after=math.inf)}
    assert found == {waiting.id}, "nothing is to be taken over"
    assert await store.due(["ocr"], limit=10, takeover_after=0.0) == []


async def _finds(store: Store, job_id: UUID) -> bool:
    return job_id in {due.id for due in await store.due(["embeddings"], limit=10, takeover_after=0.0)}


async def test_a_job_close_to_its_crash_limit_is_a_suspect_and_then_ends(store: Store) -> None:
    job = await submitted(store)
    for crashes in range(3):
        assert (await called(store, job)).crashes == crashes
    await eventually(lambda: _finds(store, job.id))
    (due,) = await store.due(["embeddings"], limit=10, takeover_after=0.0)
    assert due.suspect
    assert await store.claim([job.id], lease=uuid4(), worker="w", suspects=False) == []
    for crashes in (3, 4):
        assert (await called(store, job, suspects=True)).crashes == crashes
    assert await eventually(lambda: store.expire(100, end_late)) == {"crashes": 1}
    view = (await store.collect([job.id]))[job.id]
    assert (view.status, view.status_code) == (Status.FAILED, 500)


async def test_past_its_deadline_a_job_is_not_claimed_and_fails_with_504(store: Store) -> None:
    job = await submitted(store, deadline=0.2)
    assert await eventually(lambda: store.expire(100, end_late)) == {"deadline": 1}
    assert await store.claim([job.id], lease=uuid4(), worker="w", suspects=False) == []
    view = (await store.collect([job.id]))[job.id]
    assert (view.status, view.status_code, view.body) == (Status.FAILED, 504, b'{"error":{}}')
    assert view.expires_at is not None


async def test_all_that_is_overdue_ends_however_few_are_taken_at_a_time(store: Store) -> None:
    for _ in range(7):
        await submitted(store, deadline=-1)
    kept = await submitted(store)
    assert await store.expire(2, end_late) == {"deadline": 7}
    assert (await store.collect([kept.id]))[kept.id].status is Status.PENDING


@pytest.mark.parametrize("taken", [False, True], ids=["pending", "processing"])
async def test_a_live_job_that_lost_its_time_to_wake_ends_at_its_deadline(store: Store, taken: bool) -> None:
    late, early = [await submitted(store) for _ in range(2)]
    if taken:
        for job in (late, early):
            await claimed(store, job)
    await lose_time_to_wake(store, late, deadline_at=store.now() - timedelta(seconds=1))
    await lose_time_to_wake(store, early, deadline_at=early.deadline_at)
    assert await store.claim([late.id, early.id], lease=uuid4(), worker="w", suspects=False) == [], "nobody can"
    assert await store.expire(100, end_late) == {}, "it was not explained, for it was not read"
    views = await store.collect([late.id, early.id])
    assert (views[late.id].status, views[late.id].status_code) == (Status.FAILED, 500)
    assert isinstance(body := views[late.id].body, bytes)
    assert b"could not be read" in body
    assert not views[early.id].status.terminal, "its holder, if it has one, may still end it"


async def test_a_job_that_lost_its_time_to_wake_is_still_its_holders(store: Store) -> None:
    held = await claimed(store, await submitted(store))
    await lose_time_to_wake(store, held, deadline_at=store.now() + timedelta(seconds=3600))
    assert await store.renew({held.id: held.lease}, {held.id}) == set(), "which makes it whole again"
    assert await store.record([completed(held)]) == [True]


async def test_a_lease_never_outlives_the_deadline(store: Store) -> None:
    job = await submitted(store, deadline=0.5)
    held = await claimed(store, job)
    assert await eventually(lambda: store.expire(100, end_late)) == {"deadline": 1}
    assert await store.renew({held.id: held.lease}, ()) == {held.id}
    assert await store.record([completed(held)]) == [False]


async def test_the_backlog_counts_by_modality_and_state(store: Store) -> None:
    jobs = [await submitted(store) for _ in range(3)]
    await claimed(store, jobs[0])
    counts = {(each.modality, each.status): each.count for each in await store.backlog()}
    assert counts["embeddings", "pending"] == 2
    assert counts["embeddings", "processing"] == 1
    assert counts["ocr", "pending"] == 0
    assert await store.at_least("embeddings", 2)
    assert not await store.at_least("embeddings", 3)


async def test_what_is_full_is_what_was_declared_last(store: Store) -> None:
    assert await store.full() == frozenset()
    await store.publish_backpressure({"ocr", "chat"})
    assert await store.full() == {"ocr", "chat"}
    await store.publish_backpressure(())
    assert await store.full() == frozenset()


async def test_the_longer_pause_wins_and_pauses_end(store: Store) -> None:
    await store.pause("openai", 30)
    await store.pause("openai", 1)
    await store.pause("groq", 0.1)
    pauses = {pause.channel: pause.seconds for pause in await store.pauses()}
    assert 25 < pauses["openai"] <= 30
    await eventually(lambda: _paused(store, "groq", False))


async def _paused(store: Store, channel: str, expected: bool) -> bool:
    return (channel in {pause.channel for pause in await store.pauses()}) is expected


async def test_the_id_secret_stays_the_same(store: Store) -> None:
    secret = await store.id_secret()
    assert len(secret) == 32
    assert await store.id_secret() == secret


@pytest.mark.parametrize("word", ["$status", "$$NOW", "a.b", "$literal"])
async def test_text_that_looks_like_an_expression_is_stored_as_text(store: Store, word: str) -> None:
    job = await submitted(store, targets=(Target(word, word),))
    held = await claimed(store, job)
    assert held.targets == (Target(word, word),)
    assert await store.record([completed(held, word.encode())]) == [True]
    assert (await store.collect([job.id]))[job.id].body == word.encode()


async def test_no_modality_and_no_state_hides_another_from_the_sweep(store: Store) -> None:
    abandoned = await submitted(store)
    await claimed(store, abandoned)
    other = msgspec.structs.replace(new_job(store.now()), modality="text")
    await store.submit([(other, None)])
    for _ in range(40):
        await submitted(store)
    modalities = ["embeddings", "text", "ocr"]
    await eventually(lambda: _finds(store, abandoned.id))
    found = {due.id for due in await store.due(modalities, limit=12, takeover_after=0.0)}
    assert {abandoned.id, other.id} <= found
    assert len(found) == 12


async def test_suspects_are_left_out_of_a_sweep_that_may_not_take_them(store: Store) -> None:
    job = await submitted(store)
    for _ in range(3):
        await called(store, job)
    await eventually(lambda: _finds(store, job.id))
    assert await store.due(["embeddings"], limit=10, takeover_after=0.0, suspects=False) == []
