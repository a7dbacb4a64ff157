"""Tenants share an edge and its batches, and never see each other's jobs: not their bodies, not that they exist."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

from shared.domain.ids import new_job_id
from shared.settings.reading import load_settings
from tests.support.fakes.store import FakeClock, FakeStore
from tests.support.http_api import Api, FakeKeys, quick, serve_in_process
from tests.support.requests import EMBEDDING, EMBEDDINGS

SAME_ID = {"x-request-id": "the same for all"}
PATHS = (EMBEDDINGS, "/v1/async/responses", "/openai/v1/responses")


def whole(answer: httpx.Response) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Everything that a client can tell two answers apart by."""
    return answer.status_code, answer.headers.raw, answer.content


@pytest.mark.parametrize("state", ["pending", "processing", "completed", "failed", "expired"])
async def test_the_job_of_another_is_in_every_byte_like_no_job(api: Api, state: str) -> None:
    _, mine = await api.keys.create()
    _, other = await api.keys.create()
    submitted = await api.submit(EMBEDDINGS, EMBEDDING, x_bf_vk=mine)
    job_id = submitted.json()["id"]
    if state == "processing":
        await api.claim(job_id)
    elif state != "pending":
        await api.end(
            job_id, status_code=500 if state == "failed" else 200, result_ttl=0 if state == "expired" else 3600
        )
    ids = [job_id, str(new_job_id()), "nonsense", "0" * 36]
    for path in PATHS:
        for method in ("GET", "HEAD"):
            answers = [
                whole(await api.client.request(method, f"{path}/{each}", headers={**SAME_ID, **key}))
                for each in ids
                for key in ({"x-bf-vk": other}, {"x-bf-vk": "sk-bf-nobody"}, {"authorization": f"Bearer {other}"}, {})
            ]
            assert answers[0][0] == 404
            assert all(answer == answers[0] for answer in answers), (path, method)


async def test_an_idempotency_key_of_another_finds_nothing(api: Api) -> None:
    _, mine = await api.keys.create()
    _, other = await api.keys.create()
    first = await api.submit(EMBEDDINGS, EMBEDDING, x_bf_vk=mine, idempotency_key="order-1")
    for headers in ({"x_bf_vk": other}, {}):
        theirs = await api.submit(EMBEDDINGS, EMBEDDING, idempotency_key="order-1", **headers)
        assert theirs.status_code == 202
        assert theirs.json()["id"] != first.json()["id"]
        assert "x-coatcheck-replayed" not in theirs.headers


@dataclass(frozen=True)
class Poll:
    """Who asks for which job, and whether he hangs up."""

    tenant: int
    job: int
    leaves: bool


TENANTS = 3
JOBS = 6
POLLS = st.lists(
    st.builds(Poll, st.integers(0, TENANTS), st.integers(0, JOBS), st.booleans()), min_size=1, max_size=40
)  # the last tenant has no key, the last job is nobody's


@given(polls=POLLS, seed=st.integers(0, 1 << 32))
@how(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
def test_in_a_batch_of_polls_everybody_gets_his_own_envelope_or_404(polls: list[Poll], seed: int) -> None:
    asyncio.run(_poll_together(polls, random.Random(seed)))


async def _poll_together(polls: list[Poll], rng: random.Random) -> None:
    settings = quick(load_settings(environ={}))
    store = FakeStore(settings, FakeClock(running=True))
    async with serve_in_process(store, FakeKeys(store), settings) as api:
        secrets = [(await api.keys.create())[1] for _ in range(TENANTS)]
        owners = [rng.randrange(TENANTS) for _ in range(JOBS)]
        ids = []
        for number, owner in enumerate(owners):
            ticket = (await api.submit(EMBEDDINGS, EMBEDDING, x_bf_vk=secrets[owner])).json()
            await api.end(ticket["id"], b'{"mine":"%d of %d"}' % (number, owner))
            ids.append(ticket["id"])
        ids.append(str(new_job_id()))

        async def poll(which: Poll) -> httpx.Response:
            headers = {"x-bf-vk": secrets[which.tenant]} if which.tenant < TENANTS else {}
            return await api.client.get(f"{EMBEDDINGS}/{ids[which.job]}", headers=headers)

        reading = asyncio.Event()

        async def some_turns_later(verb: str) -> None:
            reading.set()
            for _ in range(rng.randrange(5)):
                await asyncio.sleep(0)

        store.faults.before = some_turns_later
        waiting = [asyncio.create_task(poll(which)) for which in polls]
        await asyncio.wait_for(reading.wait(), 5)
        for task, which in zip(waiting, polls, strict=True):
            if which.leaves:
                task.cancel()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        for answer, which in zip(answers, polls, strict=True):
            if isinstance(answer, asyncio.CancelledError):
                assert which.leaves
                continue
            assert isinstance(answer, httpx.Response), answer
            mine = which.job < JOBS and owners[which.job] == which.tenant
            assert answer.status_code == (200 if mine else 404)
            if mine:
                assert answer.json()["id"] == ids[which.job]
                assert answer.json()["result"] == {"mine": f"{which.job} of {which.tenant}"}
