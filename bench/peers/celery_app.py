"""The peer that people have: Celery with Redis, the same API, settings as its own documentation recommends.

Edge: `uvicorn peers.celery_app:web`; worker: `celery -A peers.celery_app worker --pool threads`.
Acknowledged late and with a visibility time-out, so that a killed worker's tasks come back.
"""

from __future__ import annotations

import os
from typing import Any

import httpx
from celery import Celery
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

REDIS = os.environ["BENCH_REDIS"]
UPSTREAM = os.environ["BENCH_UPSTREAM"]

tasks = Celery("peer", broker=REDIS, backend=REDIS)
tasks.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=False,
    result_expires=3600,
    worker_prefetch_multiplier=1,
    broker_pool_limit=256,
    redis_max_connections=1024,
    broker_transport_options={"visibility_timeout": 60},
    worker_hijack_root_logger=False,
)
client = httpx.Client(limits=httpx.Limits(max_connections=1000, max_keepalive_connections=1000), timeout=60)


@tasks.task(name="embed", autoretry_for=(httpx.HTTPError,), max_retries=3, retry_backoff=1)
def embed(body: dict[str, Any]) -> dict[str, Any]:
    """Call the upstream as a worker of Coatcheck would."""
    model = body["model"].partition("/")[2]
    answer = client.post(f"{UPSTREAM}/v1/embeddings", json={**body, "model": model})
    answer.raise_for_status()
    result: dict[str, Any] = answer.json()
    return result


async def submit(request: Request) -> JSONResponse:
    """202 and an id."""
    body = await request.json()
    sent = await run_in_threadpool(embed.delay, body)
    return JSONResponse({"id": sent.id, "status": "pending"}, status_code=202)


async def collect(request: Request) -> JSONResponse:
    """202 until it ended, then 200 with the result."""
    outcome = tasks.AsyncResult(request.path_params["job_id"])
    meta = await run_in_threadpool(outcome.backend.get_task_meta, outcome.id)
    if meta["status"] == "SUCCESS":
        return JSONResponse({"id": outcome.id, "status": "completed", "result": meta["result"]})
    if meta["status"] == "FAILURE":
        return JSONResponse({"id": outcome.id, "status": "failed"})
    return JSONResponse({"id": outcome.id, "status": "pending"}, status_code=202)


web = Starlette(
    routes=[
        Route("/v1/async/embeddings", submit, methods=["POST"]),
        Route("/v1/async/embeddings/{job_id}", collect),
    ]
)
