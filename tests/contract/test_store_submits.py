"""What every store does for the edge: it takes jobs, makes one of each key, and reads them back."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from uuid import uuid4

import pytest

from shared.domain.job import NewJob, PayloadRef, Status
from shared.domain.store_interface import Accepted, Rejected
from shared.domain.target import Target
from tests.contract.store_jobs import claimed, completed, submitted
from tests.support.http_api import Store
from tests.support.jobs import eventually, new_job


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
