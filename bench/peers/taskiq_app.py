"""The fastest common Python way: Taskiq with Redis streams, the same API, settings as its own documentation recommends.

Edge: `uvicorn peers.taskiq_app:web`; worker: `taskiq worker peers.taskiq_app:broker --ack-type when_saved`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
from httpx_aiohttp import AiohttpTransport
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from taskiq import SmartRetryMiddleware, TaskiqEvents, TaskiqState
from taskiq.serializers import ORJSONSerializer
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker
from taskiq_redis.exceptions import ResultIsMissingError

REDIS = os.environ["BENCH_REDIS"]
UPSTREAM = os.environ["BENCH_UPSTREAM"]
SLOTS = int(os.environ["BENCH_SLOTS"])

results: RedisAsyncResultBackend[Any] = RedisAsyncResultBackend(
    REDIS, result_ex_time=3600, max_connection_pool_size=1024, serializer=ORJSONSerializer()
)
broker = (
    RedisStreamBroker(REDIS, max_connection_pool_size=1024, idle_timeout=60_000, xread_count=100)
    .with_result_backend(results)
    .with_serializer(ORJSONSerializer())
    .with_middlewares(SmartRetryMiddleware(default_retry_count=3, default_delay=1, use_jitter=True))
)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def open_client(state: TaskiqState) -> None:
    """httpx over aiohttp, its fastest transport, with a connection per slot."""
    limits = httpx.Limits(max_connections=SLOTS, max_keepalive_connections=SLOTS)
    state.client = httpx.AsyncClient(transport=AiohttpTransport(limits=limits), timeout=60)


@broker.task(retry_on_error=True)
async def embed(body: dict[str, Any]) -> dict[str, Any]:
    """Call the upstream as a worker of Coatcheck would."""
    model = body["model"].partition("/")[2]
    content = orjson.dumps({**body, "model": model})
    headers = {"content-type": "application/json"}
    answer = await broker.state.client.post(f"{UPSTREAM}/v1/embeddings", content=content, headers=headers)
    answer.raise_for_status()
    result: dict[str, Any] = orjson.loads(answer.content)
    return result


def _json(status: int, body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")


async def submit(request: Request) -> Response:
    """202 and an id."""
    sent = await embed.kiq(orjson.loads(await request.body()))
    return _json(202, {"id": sent.task_id, "status": "pending"})


async def collect(request: Request) -> Response:
    """202 until it ended, then 200 with the result."""
    job_id = request.path_params["job_id"]
    try:
        outcome = await results.get_result(job_id)
    except ResultIsMissingError:
        return _json(202, {"id": job_id, "status": "pending"})
    if outcome.is_err:
        return _json(200, {"id": job_id, "status": "failed"})
    return _json(200, {"id": job_id, "status": "completed", "result": outcome.return_value})


@contextlib.asynccontextmanager
async def _lifespan(_: Starlette) -> AsyncIterator[None]:
    await broker.startup()
    yield
    await broker.shutdown()


web = Starlette(
    routes=[
        Route("/v1/async/embeddings", submit, methods=["POST"]),
        Route("/v1/async/embeddings/{job_id}", collect),
    ],
    lifespan=_lifespan,
)
