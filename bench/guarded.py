"""The operations whose CPU time is watched: the pure functions that every job passes, one submit, one poll, one job."""

from __future__ import annotations

import asyncio
import datetime
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

import bson
import msgspec

from bench.references import new_job
from edge.app import EdgeServices, create_app
from edge.poll import envelope
from edge.submit.validation import parser
from shared.domain.catalogue import BY_TYPE
from shared.domain.content import Content
from shared.domain.job import AttemptRecord, Finish, JobView, NewJob, Status
from shared.kafka.notification import decode_notification, encode_notification
from shared.mongo.documents import codec, transitions
from shared.settings.table import Settings
from tests.support.fakes.store import FakeClock, FakeStore
from tests.support.http_api import PROVIDERS, RESULT, Notifications
from tests.unit.workers.execution.executors import make_executor
from tests.unit.workers.execution.test_attempt import Scripted
from workers.provider_interface import Call
from workers.providers.openai import answer_checks, request_bodies

BODY = b'{"model":"openai/text-embedding-3-small","input":"the cat sat on the mat"}'
NOW = datetime.datetime(2026, 1, 1)
JOBS = 100
"""In one round of an asynchronous operation, at the same time, as they come under load."""
NOTE = AttemptRecord("worker", "upstream", "ok", 100)


def _view() -> JobView:
    return JobView(
        id=uuid.uuid4(),
        request_type="embedding",
        status=Status.COMPLETED,
        created_at=NOW,
        request_id="request",
        key_id=None,
        fingerprint=None,
        completed_at=NOW,
        expires_at=NOW,
        status_code=200,
        body=RESULT,
    )


def functions() -> dict[str, Callable[[], object]]:
    """Pure functions by what they do."""
    job, view, ids, lease = new_job(NOW), _view(), [uuid.uuid4() for _ in range(64)], uuid.uuid4()
    parse = parser(BY_TYPE["embedding"], PROVIDERS, "", 1 << 20)
    stored = bson.decode(codec.encode_new(job, None), codec.PLAIN_CODEC)
    claimed = stored | {"lease": {"at": NOW, "due": NOW, "taken_over": False}, "claims": 1}
    ended = [Finish(each, lease, Status.COMPLETED, 200, RESULT, 3600, (NOTE,)) for each in ids]
    call = Call("embedding", "m", Content("json", BODY), {}, False, 30.0, "job/1/0")
    return {
        "validate a request": lambda: parse(BODY, "application/json", False),
        "write a job as BSON": lambda: codec.encode_new(job, None),
        "read a claimed job": lambda: codec.decode_claimed(claimed, job.id, lease),
        "write a 202": lambda: envelope.accepted(view.id, "request", NOW),
        "write a result's envelope": lambda: envelope.ended(view),
        "write and read a notification of 64": lambda: decode_notification(encode_notification(ids)),
        "build a claim of 64": lambda: transitions.claim(ids, lease, "worker", 30.0, 5, suspects=False),
        "build a record of 64": lambda: transitions.finish(ended, [{"data": RESULT}] * len(ended)),
        "build a provider's body": lambda: request_bodies.build(call, "openai"),
        "check a provider's answer": lambda: answer_checks.require_answer("embedding", "application/json", RESULT),
    }


class Edge:
    """The edge's application over a store in memory, called without a network."""

    def __init__(self) -> None:
        settings = msgspec.structs.replace(Settings(), allow_anonymous=True)
        self.store = FakeStore(settings, FakeClock(running=True))
        self._app = create_app(EdgeServices(settings, self.store, Notifications(), PROVIDERS))
        self._ids: list[str] = []

    async def submits(self) -> None:
        """JOBS submits at the same time."""
        answer_checks = await asyncio.gather(
            *(self._ask("POST", "/v1/async/embeddings", BODY, 202) for _ in range(JOBS))
        )
        self._ids = [msgspec.json.decode(answer)["id"] for answer in answer_checks]

    async def polls(self) -> None:
        """JOBS polls of jobs that have not ended, at the same time."""
        await asyncio.gather(*(self._ask("GET", f"/v1/async/embeddings/{each}", b"", 202) for each in self._ids))

    async def _ask(self, method: str, path: str, body: bytes, expected: int) -> bytes:
        sent: list[Any] = []
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"edge"), *(headers if body else [])],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        if sent[0]["status"] != expected:
            raise RuntimeError(f"{method} {path}: {sent}")
        return b"".join(message.get("body", b"") for message in sent[1:])


async def jobs() -> None:
    """JOBS jobs through a worker: claimed, called, recorded, over a store in memory."""
    settings = msgspec.structs.replace(Settings(), slots=JOBS)
    store = FakeStore(settings, FakeClock(running=True))
    executor = make_executor(store, {"upstream": Scripted()}, settings)
    wanted: list[NewJob] = [new_job(store.now()) for _ in range(JOBS)]
    await store.submit([(job, None) for job in wanted])
    ids = [job.id for job in wanted]
    loop = asyncio.ensure_future(executor.claim_notified())
    executor.ready_queue.put(ids)
    while not all(view.status.terminal for view in (await store.collect(ids)).values()):
        await asyncio.sleep(0)
    loop.cancel()
    await asyncio.gather(loop, return_exceptions=True)


def rounds() -> dict[str, Callable[[], Coroutine[None, None, None]]]:
    """Asynchronous operations; each is JOBS of them. Submits come before polls, which ask for what was submitted."""
    edge = Edge()
    return {"a submit": edge.submits, "a poll": edge.polls, "a job": jobs}
