"""Request metrics: by route template, never by raw path, with bounded labels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import pytest

from shared.settings.reading import load_settings
from shared.telemetry.metrics import REGISTRY
from tests.support.fakes.store import FakeStore
from tests.support.http_api import FakeKeys, quick, serve_in_process
from tests.support.requests import EMBEDDING, EMBEDDINGS


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    settings = quick(load_settings(environ={}))
    store = FakeStore(settings)
    async with serve_in_process(store, FakeKeys(store), settings) as api:
        yield api.client


def count(route: str, method: str, code_class: str) -> float:
    wanted = {"route": route, "method": method, "code_class": code_class}
    return REGISTRY.get_sample_value("coatcheck_http_request_duration_seconds_count", wanted) or 0.0


async def test_requests_are_counted_by_route_method_and_class(client: httpx.AsyncClient) -> None:
    template = f"{EMBEDDINGS}/{{job_id}}"
    before = [count(EMBEDDINGS, "POST", "2xx"), count(EMBEDDINGS, "POST", "4xx"), count(template, "GET", "4xx")]
    await client.post(EMBEDDINGS, json=EMBEDDING)
    await client.post(EMBEDDINGS, json={})
    await client.get(f"{EMBEDDINGS}/{uuid4()}")
    await asyncio.sleep(0)  # they are written in the next turn of the loop
    after = [count(EMBEDDINGS, "POST", "2xx"), count(EMBEDDINGS, "POST", "4xx"), count(template, "GET", "4xx")]
    assert [new - old for old, new in zip(before, after, strict=True)] == [1, 1, 1]


def labels(name: str) -> set[str]:
    metric = next(each for each in REGISTRY.collect() if each.name == "coatcheck_http_request_duration_seconds")
    return {sample.labels[name] for sample in metric.samples}


async def test_invented_paths_and_methods_make_no_labels(client: httpx.AsyncClient) -> None:
    routes = labels("route")
    for _ in range(5):
        await client.get(f"/{uuid4()}")
        await client.request(f"M{uuid4().hex}", EMBEDDINGS)
    await asyncio.sleep(0)
    assert labels("route") - routes <= {"none", EMBEDDINGS}
    assert labels("method") <= {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}
