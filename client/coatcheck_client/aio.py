"""The asyncio client: performs the operations with httpx.AsyncClient and tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
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


class AsyncCoatcheck:
    """`Coatcheck` with `await`: the same arguments, verbs and errors, see there. For one event loop."""

    def __init__(
        self, url: str | None = None, api_key: str | None = None, *, timeout: float = 30.0, retries: int = 5,
        connections: int = 64, trust_env: bool | None = None, transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:  # fmt: skip
        self._config = load_config(url, api_key, timeout, retries, connections, trust_env=trust_env)
        self._operations = Operations(retries)
        options = self._config.http_options()
        self._pool = ClientPool(lambda: httpx.AsyncClient(transport=transport, **options))
        self._turn = asyncio.Semaphore(connections)

    async def submit(
        self, request_type: str, body: Mapping[str, Any] | bytes, files: Mapping[str, FileSource] | None = None, *,
        idempotency_key: str | None = None, ttl: int | None = None, deadline: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Job:  # fmt: skip
        key = idempotency_key or ""
        submission = Submission(
            request_type, body, files, idempotency_key=key, ttl=ttl, deadline=deadline, headers=headers
        )
        return await self._submit(submission)

    async def get(self, job: Job | str) -> Job:
        return await self._perform(self._operations.get(job))

    async def wait(self, job: Job | str, timeout: float | None = None) -> Job:  # noqa: ASYNC109
        return await self._perform(self._operations.wait(job, timeout))

    async def result(self, job: Job | str, timeout: float | None = None) -> Any:  # noqa: ASYNC109
        return await self._perform(self._operations.result(job, timeout))

    async def map(
        self, requests: Iterable[Submission | tuple[str, Mapping[str, Any]]], *, in_flight: int = 64,
        ordered: bool = True, progress: ProgressCallback | None = None, timeout: float | None = None,  # noqa: ASYNC109
    ) -> AsyncGenerator[Outcome, None]:  # fmt: skip
        window = Window(in_flight, ordered, requests, progress)
        ended: asyncio.Queue[asyncio.Task[Outcome]] = asyncio.Queue()
        running: set[asyncio.Task[Outcome]] = set()
        try:
            for request in requests:
                submission = request if isinstance(request, Submission) else Submission(*request)
                task = asyncio.create_task(self._outcome(window.start(), submission, timeout))
                running.add(task)
                task.add_done_callback(ended.put_nowait)
                while not (window.has_room() and ended.empty()):
                    for outcome in window.arrive(await _next_ended(ended, running)):
                        yield outcome
            while not window.is_empty():
                for outcome in window.arrive(await _next_ended(ended, running)):
                    yield outcome
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _outcome(self, index: int, submission: Submission, timeout: float | None) -> Outcome:  # noqa: ASYNC109
        try:
            job = await self._submit(submission)
            return outcome_of(index, submission, await self.wait(job, timeout))
        except CoatcheckError as error:
            return Outcome(index, submission, error=error)

    async def _submit(self, submission: Submission) -> Job:
        encoded = await asyncio.to_thread(submission.encode) if submission.files else submission.encode()
        return await self._perform(self._operations.submit(encoded))

    async def _perform(self, operation: Operation[T]) -> T:
        answer: Reply | Unreachable | None = None
        try:
            while True:
                effect = operation.send(answer)
                if isinstance(effect, Sleep):
                    answer = None
                    await asyncio.sleep(effect.seconds)
                else:
                    answer = await self._send(effect)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _send(self, send: Send) -> Reply | Unreachable:
        try:
            async with asyncio.timeout(send.timeout), self._turn:
                lane = self._pool.take()
                try:
                    return await self._exchange(lane, send)
                finally:
                    self._pool.give_back(lane)
        except (httpx.RequestError, TimeoutError) as error:
            return Unreachable(f"no answer from {self._config.url}: {error or type(error).__name__}")

    async def _exchange(self, http: httpx.AsyncClient, send: Send) -> Reply:
        request, phases = send.request, self._config.phases(send.timeout)
        response = await http.request(
            request.method, request.path, headers=dict(request.headers), content=request.content, timeout=phases
        )
        return Reply(response.status_code, response.headers, response.content)

    async def close(self) -> None:
        """Close the connections. Jobs go on."""
        for lane in self._pool.opened:
            await lane.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncCoatcheck({self._config.url!r})"


async def _next_ended(ended: asyncio.Queue[asyncio.Task[Outcome]], running: set[asyncio.Task[Outcome]]) -> Outcome:
    task = await ended.get()
    running.discard(task)
    return task.result()
