"""The whole path with real processes: submit over HTTP, store, notify, claim, call, record, collect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
import pytest
import pytest_asyncio

from coatcheck.drill.stack.cluster import PROVIDER, Cluster, Setup, Size
from coatcheck.drill.upstream.server import start_upstream
from shared.domain.catalogue import BY_TYPE, CATALOGUE, Endpoint
from shared.domain.form import Part, encode_form, parse_form
from tests.support.jobs import eventually
from tests.support.servers.canned import Canned, canned, http
from tests.support.servers.upstream import AUDIO, FORM_PARTS, JSON_BODIES

pytestmark = pytest.mark.asyncio(loop_scope="module")

CAPTURE = '[providers.capture]\nkind = "openai"\nbase_url = "http://127.0.0.1:{port}/v1"\n'
EMBEDDINGS = "/v1/async/embeddings"


@dataclass(frozen=True)
class Stack:
    """A running product, an HTTP client for it, and a provider that keeps what it is sent."""

    api: httpx.AsyncClient
    capture: Canned
    cluster: Cluster

    async def submit(self, path: str, body: Any, **headers: str) -> httpx.Response:
        return await self.api.post(path, json=body, headers=headers)

    async def ended(self, location: str) -> dict[str, Any]:
        """Poll until the job ended; its envelope."""

        async def probe() -> dict[str, Any] | None:
            answer = await self.api.get(location)
            assert answer.status_code in (200, 202), answer.text
            return answer.json() if answer.status_code == 200 else None

        return await eventually(probe, within=60)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    server, port, log = await start_upstream()
    async with canned(http(b'{"text":"heard"}')) as capture:
        settings = CAPTURE.format(port=capture.port)
        cluster = Cluster(tmp_path_factory.mktemp("stack"), Setup(Size(workers=1), settings=settings), port)
        try:
            await cluster.open()
            await cluster.start(print)
            async with httpx.AsyncClient(base_url=cluster.urls[0], timeout=60) as api:
                yield Stack(api, capture, cluster)
        finally:
            await cluster.stop()
            cluster.kill_all()
            server.close()
            log.close()


def request_of(endpoint: Endpoint, model: str) -> tuple[str, bytes]:
    """Content-Type and body of a valid request."""
    if endpoint.form is not None:
        return encode_form([Part("model", None, None, model.encode()), *FORM_PARTS[endpoint.request_type]])
    body = msgspec.json.decode(JSON_BODIES[endpoint.request_type])
    return "application/json", msgspec.json.encode(body | {"model": model})


@pytest.mark.parametrize("endpoint", CATALOGUE, ids=lambda endpoint: endpoint.request_type)
async def test_every_request_type_goes_all_the_way(stack: Stack, endpoint: Endpoint) -> None:
    content_type, body = request_of(endpoint, f"{PROVIDER}/m")
    answer = await stack.api.post(endpoint.path, content=body, headers={"content-type": content_type})
    assert answer.status_code == 202, answer.text
    envelope = await stack.ended(answer.headers["location"])
    assert envelope["status"] == "completed", envelope
    assert envelope["result"]["extra_fields"]["request_type"] == endpoint.request_type
    assert envelope["result"]["extra_fields"]["provider"] == PROVIDER


async def test_an_upload_reaches_the_provider_byte_for_byte(stack: Stack) -> None:
    endpoint = BY_TYPE["transcription"]
    content_type, body = request_of(endpoint, "capture/w")
    answer = await stack.api.post(endpoint.path, content=body, headers={"content-type": content_type})
    envelope = await stack.ended(answer.headers["location"])
    assert envelope["result"]["text"] == "heard"
    head, sent = stack.capture.requests[-1]
    sent_type = next(line for line in head.decode().split("\r\n") if line.lower().startswith("content-type:"))
    form = parse_form(sent, sent_type.partition(":")[2].strip())
    (file,) = [part for part in form.parts if part.filename]
    assert (file.name, file.filename, file.content_type, file.data) == ("file", "note.mp3", "audio/mpeg", AUDIO)


async def test_a_request_of_ten_megabytes_is_stored_in_chunks_and_answered(stack: Stack) -> None:
    answer = await stack.submit(EMBEDDINGS, {"model": f"{PROVIDER}/m", "input": "x" * 10_000_000})
    assert (await stack.ended(answer.headers["location"]))["status"] == "completed"


async def test_a_result_of_ten_megabytes_comes_back_whole(stack: Stack) -> None:
    body = {"model": f"{PROVIDER}/size=10000000", "messages": [{"role": "user", "content": "hi"}]}
    answer = await stack.submit("/v1/async/chat/completions", body)
    envelope = await stack.ended(answer.headers["location"])
    assert len(envelope["result"]["choices"][0]["message"]["content"]) == 10_000_000


async def test_one_key_makes_one_job_however_often_and_at_once_it_is_sent(stack: Stack) -> None:
    body = {"model": f"{PROVIDER}/latency=200", "input": "once"}
    answers = await asyncio.gather(
        *(stack.submit(EMBEDDINGS, body, **{"Idempotency-Key": "order-1"}) for _ in range(20))
    )
    assert {answer.status_code for answer in answers} <= {200, 202}, "200 for one that comes when the job has ended"
    assert len({answer.json()["id"] for answer in answers}) == 1
    other = await stack.submit(EMBEDDINGS, body | {"input": "twice"}, **{"Idempotency-Key": "order-1"})
    assert other.status_code == 422


async def test_a_failing_provider_is_retried_and_then_told(stack: Stack) -> None:
    answer = await stack.submit(EMBEDDINGS, {"model": f"{PROVIDER}/status=503", "input": "a"})
    envelope = await stack.ended(answer.headers["location"])
    assert (envelope["status"], envelope["status_code"]) == ("failed", 503)
    assert "result" not in envelope


async def test_a_fallback_answers_when_the_first_target_cannot(stack: Stack) -> None:
    body = {"model": f"{PROVIDER}/status=401", "input": "a", "fallbacks": [f"{PROVIDER}/second"]}
    envelope = await stack.ended((await stack.submit(EMBEDDINGS, body)).headers["location"])
    assert envelope["status"] == "completed"
    assert envelope["result"]["extra_fields"]["resolved_model_used"] == "second"


async def test_a_deadline_ends_a_job_that_hangs(stack: Stack) -> None:
    body = {"model": f"{PROVIDER}/mode=hang", "input": "a"}
    answer = await stack.submit(EMBEDDINGS, body, **{"x-coatcheck-deadline": "2"})
    envelope = await stack.ended(answer.headers["location"])
    assert (envelope["status"], envelope["status_code"]) == ("failed", 504)


async def test_a_result_is_gone_the_moment_its_time_is_up(stack: Stack) -> None:
    body = {"model": f"{PROVIDER}/m", "input": "a"}
    answer = await stack.submit(EMBEDDINGS, body, **{"x-bf-async-job-result-ttl": "1"})
    await stack.ended(answer.headers["location"])

    async def gone() -> bool:
        return (await stack.api.get(answer.headers["location"])).status_code == 404

    await eventually(gone, within=5)


async def test_metrics_are_not_on_the_public_port(stack: Stack) -> None:
    assert (await stack.api.get("/metrics")).status_code == 404
