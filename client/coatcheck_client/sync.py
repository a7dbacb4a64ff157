"""The blocking client: performs the operations with httpx.Client, sleeps and threads."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self, TypeVar

import httpx

from coatcheck_client.config import ClientPool, load_config
from coatcheck_client.errors import CoatcheckError, Unreachable
from coatcheck_client.job import Job
from coatcheck_client.operations import Operation, Operations, Send, Sleep
from coatcheck_client.protocol import Reply
from coatcheck_client.submission import FileSource, Submission
from coatcheck_client.window import Outcome, ProgressCallback, Window, outcome_of

T = TypeVar("T")


class Coatcheck:
    """A client of one server. Safe to share between threads; close it, or use it as a context manager.

    `url` and `api_key` default to COATCHECK_URL and COATCHECK_API_KEY. `timeout`: seconds that one exchange may stand
    still. `retries`: how often a request is sent again after 408, 429, 502, 503, 504 or no answer. `connections`: open
    at most. `trust_env`: whether to use proxies of the environment; by default unless the server is on this machine."""

    def __init__(
        self, url: str | None = None, api_key: str | None = None, *, timeout: float = 30.0, retries: int = 5,
        connections: int = 64, trust_env: bool | None = None, transport: httpx.BaseTransport | None = None,
    ) -> None:  # fmt: skip
        self._config = load_config(url, api_key, timeout, retries, connections, trust_env=trust_env)
        self._operations = Operations(retries)
        options = self._config.http_options()
        self._pool = ClientPool(lambda: httpx.Client(transport=transport, **options))
        self._turn = threading.Semaphore(connections)

    def submit(
        self, request_type: str, body: Mapping[str, Any] | bytes, files: Mapping[str, FileSource] | None = None, *,
        idempotency_key: str | None = None, ttl: int | None = None, deadline: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Job:  # fmt: skip
        """Hand in a request and get its job, pending. Raises `ApiError` or `Unreachable`.

        `request_type`: name or path, like `embeddings` or `/v1/embeddings`. `body`: JSON or form fields. `ttl`: seconds
        that the result is kept after the end. `deadline`: seconds that the job may take. The same `idempotency_key`
        and request are the same job; without one, a fresh key covers the retries of this call."""
        key = idempotency_key or ""
        submission = Submission(
            request_type, body, files, idempotency_key=key, ttl=ttl, deadline=deadline, headers=headers
        )
        return self._perform(self._operations.submit(submission.encode()))

    def get(self, job: Job | str) -> Job:
        """The job as it is now. A ticket, `embeddings/<id>`, does as well. `ApiError` 404: unknown or expired."""
        return self._perform(self._operations.get(job))

    def wait(self, job: Job | str, timeout: float | None = None) -> Job:
        """Poll until the job completed or failed, at the server's pace; `WaitTimeout` after `timeout` seconds."""
        return self._perform(self._operations.wait(job, timeout))

    def result(self, job: Job | str, timeout: float | None = None) -> Any:
        """Wait for the job and give its result; raises `JobFailed`, or `WaitTimeout` after `timeout` seconds."""
        return self._perform(self._operations.result(job, timeout))

    def map(
        self, requests: Iterable[Submission | tuple[str, Mapping[str, Any]]], *, in_flight: int = 64,
        ordered: bool = True, progress: ProgressCallback | None = None, timeout: float | None = None,
    ) -> Generator[Outcome, None, None]:  # fmt: skip
        """Submit every request, at most `in_flight` at a time, and give the outcomes in order (or as they come).

        Nothing is raised for one request: see `Outcome.error`. `timeout`: seconds to wait for each job. One thread per
        job in flight; for thousands use `AsyncCoatcheck`."""
        window = Window(in_flight, ordered, requests, progress)
        ended: queue.SimpleQueue[Future[Outcome]] = queue.SimpleQueue()
        stop = threading.Event()
        with ThreadPoolExecutor(in_flight, thread_name_prefix="coatcheck-map") as pool:
            try:
                for request in requests:
                    submission = request if isinstance(request, Submission) else Submission(*request)
                    future = pool.submit(self._outcome, window.start(), submission, timeout, stop)
                    future.add_done_callback(ended.put)
                    while not (window.has_room() and ended.empty()):
                        yield from window.arrive(ended.get().result())
                while not window.is_empty():
                    yield from window.arrive(ended.get().result())
            finally:
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)

    def _outcome(self, index: int, submission: Submission, timeout: float | None, stop: threading.Event) -> Outcome:
        def pause(seconds: float) -> None:
            if stop.wait(seconds):
                raise Unreachable("the map was closed")

        try:
            job = self._perform(self._operations.submit(submission.encode()), pause)
            return outcome_of(index, submission, self._perform(self._operations.wait(job, timeout), pause))
        except CoatcheckError as error:
            return Outcome(index, submission, error=error)

    def _perform(self, operation: Operation[T], pause: Callable[[float], None] = time.sleep) -> T:
        answer: Reply | Unreachable | None = None
        try:
            while True:
                effect = operation.send(answer)
                if isinstance(effect, Sleep):
                    answer = None
                    pause(effect.seconds)
                else:
                    answer = self._send(effect)
        except StopIteration as end:
            result: T = end.value
            return result

    def _send(self, send: Send) -> Reply | Unreachable:
        if not self._turn.acquire(timeout=send.timeout):
            return Unreachable("all connections of this client are in use")
        lane = self._pool.take()
        try:
            return self._exchange(lane, send)
        finally:
            self._pool.give_back(lane)
            self._turn.release()

    def _exchange(self, http: httpx.Client, send: Send) -> Reply | Unreachable:
        request, phases = send.request, self._config.phases(send.timeout)
        end = None if send.timeout is None else time.monotonic() + send.timeout
        chunks: list[bytes] = []
        try:
            with http.stream(
                request.method, request.path, headers=dict(request.headers), content=request.content, timeout=phases
            ) as response:
                for chunk in response.iter_bytes():
                    chunks.append(chunk)
                    if end is not None and time.monotonic() > end:
                        raise httpx.ReadTimeout("the answer took too long")
        except httpx.RequestError as error:
            return Unreachable(f"no answer from {self._config.url}: {error or type(error).__name__}")
        return Reply(response.status_code, response.headers, b"".join(chunks))

    def close(self) -> None:
        """Close the connections. Jobs go on."""
        for lane in self._pool.opened:
            lane.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Coatcheck({self._config.url!r})"
