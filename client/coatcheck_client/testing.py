"""A server in memory for tests of code that uses this client: no sockets, no waiting for a provider.

server = FakeServer(lambda request_type, body: {"echo": body})
client = Coatcheck(transport=server.transport)
"""

from __future__ import annotations

import json
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

import httpx

from coatcheck_client.endpoints import ENDPOINTS, Endpoint
from coatcheck_client.submission import KEY_HEADER

Answer: TypeAlias = Callable[[str, Any], Any]
"""From the request type and the body (decoded JSON, or a form's bytes) to the result; may raise `Fail` or `NotYet`."""


class Fail(Exception):
    """Raised by an answer: the job fails with this status and message."""

    def __init__(self, status_code: int, message: str) -> None:
        super().__init__(status_code, message)
        self.status_code = status_code
        self.message = message


class NotYet(Exception):
    """Raised by an answer: the job is still processing; the next poll asks again."""


@dataclass(slots=True)
class FakeJob:
    """A job of the fake: how often its request arrived, and how many polls are still answered with `processing`."""

    endpoint: Endpoint
    content: bytes
    envelope: dict[str, Any]
    polls_left: int
    submits: int = 1


@dataclass
class FakeServer:
    """Jobs by id. Honours Idempotency-Key; `polls` is how many polls of a job come before its end. `script` holds
    answers, or exceptions, that come instead of the next ones. `retry_after` is sent with each 202."""

    answer: Answer = lambda request_type, body: {"echo": body}
    polls: int = 0
    retry_after: str | None = None
    jobs: dict[str, FakeJob] = field(default_factory=dict)
    requests: list[httpx.Request] = field(default_factory=list)
    script: deque[httpx.Response | Exception] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self.handle)

    def handle(self, request: httpx.Request) -> httpx.Response:
        request.read()
        with self._lock:
            self.requests.append(request)
            if self.script:
                scripted = self.script.popleft()
                if isinstance(scripted, Exception):
                    raise scripted
                return scripted
            for endpoint in ENDPOINTS:
                if request.method == "POST" and request.url.path == endpoint.path:
                    return self._submit(endpoint, request)
                if request.method == "GET" and request.url.path.startswith(endpoint.path + "/"):
                    return self._collect(endpoint, request.url.path.removeprefix(endpoint.path + "/"))
        return refusal(404, "no such route")

    def requeue(self, job_id: str) -> str:
        """What an operator does with a failed job: submit it again under the new id that comes back."""
        with self._lock:
            old, new_id = self.jobs[job_id], str(uuid.uuid4())
            self._accept(new_id, old.endpoint, old.content)
            old.envelope["requeued_as"] = new_id
        return new_id

    def _accept(self, job_id: str, endpoint: Endpoint, content: bytes) -> FakeJob:
        envelope = {"id": job_id, "status": "pending", "created_at": "2026-01-01T00:00:00Z"}
        job = self.jobs[job_id] = FakeJob(endpoint, content, envelope, self.polls)
        return job

    def _submit(self, endpoint: Endpoint, request: httpx.Request) -> httpx.Response:
        key = request.headers.get(KEY_HEADER) or str(uuid.uuid4())
        job_id = str(uuid.uuid5(uuid.NAMESPACE_OID, key))
        job = self.jobs.get(job_id)
        if job is None:
            return self._response(202, self._accept(job_id, endpoint, request.content).envelope)
        if (job.endpoint, job.content) != (endpoint, request.content):
            return refusal(422, "this Idempotency-Key was used with another request")
        job.submits += 1
        return self._response(200 if "status_code" in job.envelope else 202, job.envelope)

    def _collect(self, endpoint: Endpoint, job_id: str) -> httpx.Response:
        job = self.jobs.get(job_id)
        if job is None or job.endpoint != endpoint:
            return refusal(404, "no such job")
        try:
            if job.polls_left:
                job.polls_left -= 1
                raise NotYet
            if "status_code" not in job.envelope:
                job.envelope |= self._end(job)
        except NotYet:
            return self._response(202, {**job.envelope, "status": "processing"})
        return self._response(200, job.envelope)

    def _end(self, job: FakeJob) -> dict[str, Any]:
        times = {"completed_at": "2026-01-01T00:00:00.010Z", "expires_at": "2026-01-01T01:00:01Z"}
        body = json.loads(job.content) if job.endpoint.body == "json" else job.content
        try:
            result = self.answer(job.endpoint.request_type, body)
        except Fail as fail:
            error = error_body(fail.status_code, fail.message)
            return {**times, "status": "failed", "status_code": fail.status_code, "error": error}
        return {**times, "status": "completed", "status_code": 200, "result": result}

    def _response(self, status: int, envelope: dict[str, Any]) -> httpx.Response:
        hint = {"retry-after": self.retry_after} if status == 202 and self.retry_after is not None else {}
        return httpx.Response(status, json=envelope, headers=hint)


def error_body(status: int, message: str) -> dict[str, Any]:
    return {"is_bifrost_error": False, "status_code": status, "error": {"message": message}, "extra_fields": {}}


def refusal(status: int, message: str, **headers: str) -> httpx.Response:
    """An error answer; header names are given with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=error_body(status, message), headers={"x-request-id": "req-1", **named})


@contextmanager
def listening(server: FakeServer) -> Iterator[str]:
    """Serve the fake on a free port of this machine, for code that cannot take a transport; gives the URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length", 0)))
            url, headers = f"http://fake{self.path}", self.headers.items()
            response = server.handle(httpx.Request(self.command, url, headers=headers, content=content))
            self.send_response(response.status_code)
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(response.content)

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            """A fake server has no log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()
