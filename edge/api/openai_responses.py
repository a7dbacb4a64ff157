"""OpenAI's Responses API in front of jobs: `background: true` and GET, the `x-bf-async` headers, or a plain call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

from falcon.asgi import Response

from edge.api import openai_response_shapes
from edge.http.errors import StillRunning, request_id_of
from edge.http.request import EdgeRequest
from edge.http.request_headers import CallHeaders, read_headers
from edge.ingress.concurrency import ConcurrencyLimit
from edge.poll.reader import JobReader, until_ended
from edge.poll.result_stream import ResultStream
from edge.submit.submission import Submissions, Ticket
from edge.submit.validation import BodyReader, ParsedRequest
from shared.domain.catalogue import BY_TYPE
from shared.domain.errors import BadRequest
from shared.domain.job import JobView, PayloadRef, Status

PATHS = ("/openai/v1/responses", "/openai/responses", "/openai/openai/responses")

ENDPOINT = BY_TYPE["responses"]
_TYPE = ENDPOINT.request_type
LONGEST_PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class ResponsesResource:
    """POST creates, or retrieves by header; GET on an id retrieves.

    The `stock` form is OpenAI's own: always 200 with a Responses object under the job's id. The `x-bf-async` headers
    and plain calls get the provider's own object, or the stored error under its own status.
    """

    path: str
    reader: BodyReader
    submissions: Submissions
    job_reader: JobReader
    results: ResultStream
    waiters: ConcurrencyLimit
    max_wait: float
    """Seconds a call may wait for its result."""

    async def on_post(self, req: EdgeRequest, resp: Response) -> None:
        headers = read_headers(req.scope["headers"])
        if headers.async_id is not None:
            await self._retrieve(resp, headers.async_id, headers.virtual_key, stock=False)
            return
        self.submissions.admit(ENDPOINT, headers)
        request = await self.reader.read(await req.whole_body(), headers.content_type, digest=headers.is_keyed)
        if headers.wants_async or request.background:
            await self._submit(req, resp, headers, request, stock=not headers.wants_async)
            return
        with self.waiters:
            ticket = await self.submissions.submit(ENDPOINT, headers, request, request_id_of(req))
            # The body must not stay in memory, nor count as held, for as long as the caller waits.
            del request
            req.scope["state"]["body"].release_early()
            async with req.waiting_client() as pause:
                await self._wait_for(ticket, headers.virtual_key, resp, pause)

    async def on_get_one(self, req: EdgeRequest, resp: Response, job_id: str) -> None:
        if req.get_param("stream") == "true":
            raise BadRequest("parameter 'stream': expected false or none: a job cannot stream, poll it")
        await self._retrieve(resp, job_id, read_headers(req.scope["headers"]).virtual_key, stock=True)

    on_head_one = on_get_one

    async def _retrieve(self, resp: Response, job_id: str, secret: bytes | None, *, stock: bool) -> None:
        view = await self.job_reader.collect(job_id, secret, _TYPE)
        resp.set_header("Cache-Control", "no-store")
        if view.status.terminal:
            await self._answer_ended(resp, view, stock=stock)
        else:
            _answer_unfinished(resp, view.id, view.status, view.created_at, stock=stock)
            resp.set_header("Retry-After", "1")

    async def _submit(
        self, req: EdgeRequest, resp: Response, headers: CallHeaders, request: ParsedRequest, *, stock: bool
    ) -> None:
        """A repeated submit is answered like a retrieval of the job that it made before."""
        ticket = await self.submissions.submit(ENDPOINT, headers, request, request_id_of(req))
        self._point_to(resp, ticket)
        if ticket.ended is not None:
            await self._answer_ended(resp, ticket.ended, stock=stock)
            return
        status = ticket.existing.status if ticket.existing else Status.PENDING
        _answer_unfinished(resp, ticket.id, status, ticket.created_at, stock=stock, model=request.targets[0].model)

    def _point_to(self, resp: Response, ticket: Ticket) -> None:
        resp.set_header("Location", f"{self.path}/{ticket.id}")
        if ticket.ended is None:
            resp.set_header("Retry-After", "1")
        if ticket.existing is not None:
            resp.set_header("x-coatcheck-replayed", "true")

    async def _wait_for(
        self, ticket: Ticket, secret: bytes | None, resp: Response, pause: Callable[[float], Awaitable[None]]
    ) -> None:
        look = partial(self.job_reader.collect, str(ticket.id), secret, _TYPE)
        view = ticket.ended or await until_ended(look, pause, self.max_wait, LONGEST_PAUSE_SECONDS)
        if view is not None and view.status.terminal:
            await self._answer_ended(resp, view, stock=False)
            return
        self._point_to(resp, ticket)
        resp.set_header("x-should-retry", "false")  # read by the openai package: a retry would be a second job
        raise StillRunning(
            f"job {ticket.id} has not ended after {self.max_wait:g} s and goes on: "
            f"collect it with GET {self.path}/{ticket.id} or GET {ENDPOINT.path}/{ticket.id}; "
            "`background: true` submits without waiting"
        )

    async def _answer_ended(self, resp: Response, view: JobView, *, stock: bool) -> None:
        if view.status.succeeded:
            job_id = str(view.id) if stock else None
            await self._write(resp, view, lambda stored: openai_response_shapes.completed(stored, job_id))
        elif stock:
            await self._write(resp, view, lambda stored: openai_response_shapes.failed(view, stored))
        else:
            resp.status = view.status_code if 400 <= view.status_code <= 599 else 500
            resp.set_header("x-should-retry", "false")  # the provider was already asked as often as it should be
            await self._write(resp, view, lambda stored: stored)

    async def _write(self, resp: Response, view: JobView, make: Callable[[bytes], bytes]) -> None:
        """A large body is rewritten in a thread."""
        if view.body is None:
            raise ValueError(f"job {view.id} has ended without a body")
        if isinstance(view.body, PayloadRef):
            made = await asyncio.to_thread(make, await self.results.load(view.body))
            self.results.write_whole(resp, made)
        else:
            resp.data = make(view.body)


def _answer_unfinished(
    resp: Response, job_id: UUID, status: Status, created_at: datetime, *, stock: bool, model: str = ""
) -> None:
    word = openai_response_shapes.QUEUED[status] if stock else status.value
    resp.data = openai_response_shapes.unfinished(
        str(job_id), word, created_at.timestamp(), model=model, background=stock
    )
