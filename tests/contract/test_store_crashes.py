"""Which leases that run out are crashes: every store counts those under which a provider call had begun."""

from __future__ import annotations

import random
from uuid import UUID, uuid4

from shared.domain.job import ClaimedJob, Release
from tests.contract.store_jobs import SEED, claimed, end_late, submitted
from tests.support.http_api import Store
from tests.support.jobs import eventually


async def test_a_lease_that_runs_out_before_a_call_began_spends_no_crash_and_repeats_nothing(store: Store) -> None:
    job = await submitted(store)
    first = await claimed(store, job)
    await store.renew({job.id: first.lease}, ())
    for _ in range(6):
        held = await claimed(store, job)
        assert (held.taken_over, held.repeats, held.crashed_before, held.crashes) == (True, False, True, 0)
    assert await store.expire(100, end_late) == {}


async def test_the_first_lease_that_runs_out_unheard_of_counts_as_a_call_and_later_ones_do_not(store: Store) -> None:
    job = await submitted(store)
    first, second, third = [await claimed(store, job) for _ in range(3)]
    assert (first.repeats, first.crashed_before, first.crashes) == (False, False, 0)
    assert (second.repeats, second.crashed_before, second.crashes) == (True, True, 1)
    assert (third.repeats, third.crashed_before, third.crashes) == (False, True, 1)


async def test_that_a_job_crashed_before_is_remembered_when_it_is_given_back(store: Store) -> None:
    job = await submitted(store)
    await claimed(store, job)
    taken = await claimed(store, job)
    await store.record([Release(job.id, taken.lease, 0.0, 0, 0)])
    again = await claimed(store, job)
    assert (again.taken_over, again.repeats, again.crashed_before, again.crashes) == (False, False, True, 1)


async def test_crashes_are_the_leases_that_ran_out_under_a_call_whatever_else_happens(store: Store) -> None:
    """Against a model: each round every job is claimed, perhaps called for, and then crashes or is given back."""
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    jobs = [await submitted(store) for _ in range(40)]
    crashes, crashed_before = {job.id: 0 for job in jobs}, {job.id: False for job in jobs}
    places = {job.id: place for place, job in enumerate(jobs)}
    for _ in range(7):
        held = await _all_claimed(store, [job_id for job_id, count in crashes.items() if count < 5])
        assert {job.id: job.crashes for job in held} == {job.id: crashes[job.id] for job in held}
        assert {job.id: job.crashed_before for job in held} == {job.id: crashed_before[job.id] for job in held}
        for job in sorted(held, key=lambda job: places[job.id]):
            said = rng.choice([None, False, True, True, True])
            if said is not None:
                await store.renew({job.id: job.lease}, {job.id} if said else ())
            if rng.random() < 0.2:
                assert await store.record([Release(job.id, job.lease, 0.0, 0, 0)]) == [True]
                continue
            crashes[job.id] += said or (said is None and not crashed_before[job.id])
            crashed_before[job.id] = True
    failed = sum(count >= 5 for count in crashes.values())
    assert failed > 3
    ended = 0

    async def all_ended() -> bool:
        nonlocal ended
        ended += (await store.expire(100, end_late)).get("crashes", 0)
        return ended == failed

    await eventually(all_ended)
    await _all_claimed(store, [job_id for job_id, count in crashes.items() if count < 5])


async def _all_claimed(store: Store, ids: list[UUID]) -> list[ClaimedJob]:
    held: list[ClaimedJob] = []

    async def all_held() -> bool:
        missing = list({*ids} - {job.id for job in held})
        for suspects in (False, True):
            held.extend(await store.claim(missing, lease=uuid4(), worker="w", suspects=suspects))
        return len(held) == len(ids)

    await eventually(all_held)
    return held
