"""What every store gives to workers: what is due, each job to one of them, under a lease; and pauses."""

from __future__ import annotations

import asyncio
import math
from uuid import UUID, uuid4

import msgspec

from shared.domain.job import Status
from shared.domain.target import Target
from tests.contract.store_jobs import called, claimed, completed, end_late, submitted
from tests.support.http_api import Store
from tests.support.jobs import eventually, new_job


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


async def test_a_renewed_lease_is_not_taken_and_a_lost_one_is_named(store: Store) -> None:
    kept, taken = await submitted(store), await submitted(store)
    holds = [await claimed(store, kept), await claimed(store, taken)]
    leases = {held.id: held.lease for held in holds}
    thief = await claimed(store, taken)
    assert await store.renew(leases, ()) == {taken.id}
    assert await store.claim([kept.id], lease=uuid4(), worker="w", suspects=False) == []
    assert await store.renew({taken.id: thief.lease}, ()) == set()


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


async def test_a_lease_never_outlives_the_deadline(store: Store) -> None:
    job = await submitted(store, deadline=0.5)
    held = await claimed(store, job)
    assert await eventually(lambda: store.expire(100, end_late)) == {"deadline": 1}
    assert await store.renew({held.id: held.lease}, ()) == {held.id}
    assert await store.record([completed(held)]) == [False]


async def test_the_longer_pause_wins_and_pauses_end(store: Store) -> None:
    await store.pause("openai", 30)
    await store.pause("openai", 1)
    await store.pause("groq", 0.1)
    pauses = {pause.channel: pause.seconds for pause in await store.pauses()}
    assert 25 < pauses["openai"] <= 30
    await eventually(lambda: _paused(store, "groq", False))


async def test_a_pause_that_was_ended_is_gone_and_may_begin_anew(store: Store) -> None:
    for channel in ("openai", "openai/m", "groq"):
        await store.pause(channel, 30)
    await store.resume(["openai", "openai/m", "nobody"])
    await store.resume([])
    assert [pause.channel for pause in await store.pauses()] == ["groq"]
    await store.pause("openai", 5)
    assert {pause.channel: pause.seconds <= 5 for pause in await store.pauses()}["openai"]


async def _paused(store: Store, channel: str, expected: bool) -> bool:
    return (channel in {pause.channel for pause in await store.pauses()}) is expected


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
