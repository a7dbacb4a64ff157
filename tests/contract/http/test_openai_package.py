"""The real `openai` package, unchanged, against the application: in the background, waiting, its errors and lists."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from tests.contract.http.test_responses import RESULT
from tests.support.http_api import ERROR, Api
from tests.support.jobs import eventually

MODEL = "openai/gpt-4o-mini"


@pytest.fixture
async def client(api: Api) -> AsyncIterator[AsyncOpenAI]:
    async with client_with(api, "no-key-needed") as client:
        yield client


def client_with(api: Api, key: str) -> AsyncOpenAI:
    transport = api.client._transport
    through: Any = httpx.AsyncClient(transport=transport)  # the package's types name a fork of httpx, it takes both
    return AsyncOpenAI(base_url="http://edge/openai/v1", api_key=key, http_client=through)


async def test_a_response_made_in_the_background_is_retrieved_until_it_is_completed(
    api: Api, client: AsyncOpenAI
) -> None:
    made = await client.responses.create(model=MODEL, input="hi", background=True)
    assert made.status == "queued"
    assert (await client.responses.retrieve(made.id)).status == "queued"
    held = await api.claim(made.id)
    assert (await client.responses.retrieve(made.id)).status == "in_progress"
    await api.finish(made.id, held.lease, RESULT)
    done = await client.responses.retrieve(made.id)
    assert (done.status, done.id, done.output_text) == ("completed", made.id, "Hello!")


async def test_a_failed_response_says_so_and_why(api: Api, client: AsyncOpenAI) -> None:
    made = await client.responses.create(model=MODEL, input="hi", background=True)
    await api.end(made.id, ERROR, status_code=429)
    failed = await client.responses.retrieve(made.id)
    assert failed.status == "failed"
    assert failed.error is not None
    assert (failed.error.code, failed.error.message) == ("rate_limit_exceeded", "upstream quota used up")


async def test_a_plain_call_waits_for_its_answer(api: Api, client: AsyncOpenAI) -> None:
    call = asyncio.create_task(client.responses.create(model=MODEL, input="hi"))
    await eventually(lambda: api.notifications.notified)
    await api.end(str(api.notifications.notified[0]), RESULT)
    assert (await call).output_text == "Hello!"


async def test_a_plain_call_that_takes_too_long_is_not_made_again(api: Api, client: AsyncOpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        await client.responses.create(model=MODEL, input="hi")
    assert caught.value.status_code == 504
    assert str(api.notifications.notified[0]) in caught.value.message
    assert len(api.notifications.notified) == 1


async def test_a_plain_call_that_fails_upstream_is_not_made_again(api: Api, client: AsyncOpenAI) -> None:
    call = asyncio.create_task(client.responses.create(model=MODEL, input="hi"))
    await eventually(lambda: api.notifications.notified)
    await api.end(str(api.notifications.notified[0]), ERROR, status_code=429)
    with pytest.raises(openai.RateLimitError, match="upstream quota used up"):
        await call
    assert len(api.notifications.notified) == 1


async def test_by_header_a_job_is_submitted_and_retrieved(api: Api, client: AsyncOpenAI) -> None:
    made = await client.responses.create(model=MODEL, input="hi", extra_headers={"x-bf-async": "true"})
    assert str(made.status) == "pending"
    await api.end(made.id, RESULT)
    done = await client.responses.create(model=MODEL, input="hi", extra_headers={"x-bf-async-id": made.id})
    assert (done.id, done.output_text) == ("resp_fake1", "Hello!")


async def test_errors_are_the_packages_own_with_our_words(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="unknown provider 'opnai'"):
        await client.responses.create(model="opnai/x", input="hi", background=True)
    with pytest.raises(openai.BadRequestError, match="stream"):
        await client.responses.create(model=MODEL, input="hi", stream=True)
    with pytest.raises(openai.NotFoundError, match="job not found"):
        await client.responses.retrieve("resp_unknown")


async def test_models_are_listed(client: AsyncOpenAI) -> None:
    assert MODEL in [model.id async for model in client.models.list()]


async def test_a_virtual_key_is_the_packages_api_key(api: Api) -> None:
    _, one = await api.keys.create([MODEL])
    _, two = await api.keys.create()
    async with client_with(api, one) as ours, client_with(api, two) as theirs:
        made = await ours.responses.create(model=MODEL, input="hi", background=True)
        assert (await ours.responses.retrieve(made.id)).id == made.id
        with pytest.raises(openai.NotFoundError):
            await theirs.responses.retrieve(made.id)
        with pytest.raises(openai.PermissionDeniedError, match="may not use"):
            await ours.responses.create(model="openai/other", input="hi", background=True)


async def test_an_idempotency_key_given_to_the_package_finds_the_job_again(client: AsyncOpenAI) -> None:
    headers = {"Idempotency-Key": "k1"}
    made = [
        await client.responses.create(model=MODEL, input="hi", background=True, extra_headers=headers) for _ in range(2)
    ]
    assert made[0].id == made[1].id
