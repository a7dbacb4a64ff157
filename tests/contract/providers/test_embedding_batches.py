"""Embeddings that travel together, over HTTP to the scripted upstream: everybody gets what he would have got alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from shared.domain.content import Content
from tests.support.servers.upstream import Upstream, call_of
from workers import provider_registry
from workers.provider_interface import Call, Provider, ProviderError

JOBS = 100


@pytest.fixture
async def provider(upstream: Upstream) -> AsyncIterator[Provider]:
    """One that lets 32 texts travel together, made as a worker makes it."""
    made = provider_registry.build({"up": upstream.config(batch_texts=32)}, max_body_bytes=2**20)
    yield made["up"]
    await provider_registry.close_all(made)


def job(number: int, model: str = "m", **fields: Any) -> Call:
    """The first call of a job with one, two or three texts of its own."""
    texts = [f"text {number}.{index}" for index in range(number % 3 + 1)]
    body = msgspec.json.encode({"model": f"up/{model}", "input": texts, **fields})
    return call_of("embedding", model, content=Content("json", body), call_id=f"job-{number}/1/0", seconds=30.0)


async def vectors(provider: Provider, call: Call) -> list[Any]:
    data = msgspec.json.decode((await provider.call(call)).body)["data"]
    assert [entry["index"] for entry in data] == list(range(len(data)))
    return [entry["embedding"] for entry in data]


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_a_hundred_jobs_are_a_few_calls_and_each_gets_its_own_vectors(
    provider: Provider, upstream: Upstream, encoding: str
) -> None:
    assert upstream.log is not None
    calls = [job(number, encoding_format=encoding) for number in range(JOBS)]
    found = await asyncio.gather(*(vectors(provider, call) for call in calls))
    assert upstream.log.calls <= JOBS / 10
    alone = provider_registry.build({"up": upstream.config()}, max_body_bytes=2**20)
    for call, batched in zip(calls[:10], found, strict=False):
        assert batched == await vectors(alone["up"], call)
    await provider_registry.close_all(alone)
    assert len({str(each) for each in found}) == JOBS


async def test_a_batch_that_the_provider_refuses_is_made_again_half_by_half(
    provider: Provider, upstream: Upstream
) -> None:
    assert upstream.log is not None
    refused = [job(number, "status=400") for number in range(5)]
    outcomes = await asyncio.gather(*(provider.call(call) for call in refused), return_exceptions=True)
    assert all(isinstance(outcome, ProviderError) and outcome.status_code == 400 for outcome in outcomes)
    assert upstream.log.calls == 2 * 5 - 1


async def test_a_batch_that_meets_a_provider_in_trouble_is_one_call(provider: Provider, upstream: Upstream) -> None:
    assert upstream.log is not None
    failed = [job(number, "status=500") for number in range(5)]
    outcomes = await asyncio.gather(*(provider.call(call) for call in failed), return_exceptions=True)
    assert all(isinstance(outcome, ProviderError) and outcome.status_code == 500 for outcome in outcomes)
    assert upstream.log.calls == 1


async def test_a_provider_that_asks_for_fewer_calls_is_asked_once(provider: Provider, upstream: Upstream) -> None:
    assert upstream.log is not None
    refused = [job(number, "status=429,retry_after=2") for number in range(5)]
    outcomes = await asyncio.gather(*(provider.call(call) for call in refused), return_exceptions=True)
    assert all(isinstance(outcome, ProviderError) and outcome.retry_after == 2 for outcome in outcomes)
    assert upstream.log.calls == 1
