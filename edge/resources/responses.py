"""OpenAI's Responses API in front of jobs: `background: true` and GET, the `x-bf-async` headers, or a plain call."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from falcon.asgi import Response

from edge import dropin
from edge.bodies import BodyReader, ParsedRequest
from edge.collect import Collector
from edge.errors import StillRunning, request_id_of
from edge.gate import Gate
from edge.headers import CallHeaders, read_headers
from edge.request import EdgeRequest
from edge.resources.jobs import ResultStream
from edge.submission import Submissions, Ticket
from shared.catalogue import BY_TYPE
from shared.errors import BadRequest, Overloaded, StoreUnavailable
from shared.job import JobView, PayloadRef, Status

PATHS = ("/openai/v1/responses", "/openai/responses", "/openai/openai/responses")

ENDPOINT = BY_TYPE["responses"]
FIRST_LOOK_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class ResponsesServices:
    """What the drop-in routes share."""

    reader: BodyReader
    submissions: Submissions
    collector: Collector
    results: ResultStream
    waiters: Gate
    max_wait: float
    """Seconds a call may wait for its result."""


class ResponsesResource:
    """POST creates, or retrieves by header; GET on an id retrieves."""

    def __init__(self, services: ResponsesServices, path: str) -> None:
        self._services = services
        self._path = path

    async def on_post(self, req: EdgeRequest, resp: Response) -> None:
        """Retrieve by `x-bf-async-id`, else submit; without a wish for a job, wait for the result."""
        headers = read_headers(req.scope["headers"])
        if headers.async_id is not None:
            await self._retrieve_by_header(headers.async_id, headers, resp)
            return
        self._services.submissions.admit(ENDPOINT, headers)
        request = await self._read(req, headers)
        if headers.wants_async:
            await self._submit(req, resp, headers, request, status="pending", background=False)
        elif request.background:
            await self._submit(req, resp, headers, request, status="queued", background=True)
        else:
            with self._services.waiters:
                ticket = await self._services.submissions.submit(ENDPOINT, headers, request, request_id_of(req))
                # The body must not stay in memory, nor count as held, for as long as the caller waits.
                del request
                req.scope["state"]["body"].let_go()
                await self._wait_for(ticket, headers, resp)

    async def on_get_one(self, req: EdgeRequest, resp: Response, job_id: str) -> None:
        """The stock retrieve: always 200 with a Responses object under the job's id."""
        if req.get_param("stream") == "true":
            raise BadRequest("parameter 'stream': expected false or none: a job cannot stream, poll it")
        secret = read_headers(req.scope["headers"]).virtual_key
        view = await self._services.collector.collect(job_id, secret, ENDPOINT.request_type)
        resp.set_header("Cache-Control", "no-store")
        if not view.status.terminal:
            created = view.created_at.timestamp()
            resp.data = dropin.unfinished(str(view.id), dropin.QUEUED[view.status], created, background=True)
            resp.set_header("Retry-After", "1")
        elif view.status is Status.COMPLETED:
            resp.data = await self._made_of(view, lambda stored: dropin.completed(stored, str(view.id)))
        else:
            resp.data = await self._made_of(view, lambda stored: dropin.failed(view, stored))

    on_head_one = on_get_one

    async def _read(self, req: EdgeRequest, headers: CallHeaders) -> ParsedRequest:
        data = await req.whole_body()
        req.is_complete()
        return await self._services.reader.read(data, headers.content_type, digest=headers.is_keyed)

    async def _retrieve_by_header(self, job_id: str, headers: CallHeaders, resp: Response) -> None:
        view = await self._services.collector.collect(job_id, headers.virtual_key, ENDPOINT.request_type)
        resp.set_header("Cache-Control", "no-store")
        if view.status.terminal:
            await self._answer_ended(resp, view)
        else:
            resp.data = dropin.unfinished(str(view.id), view.status.value, view.created_at.timestamp())
            resp.set_header("Retry-After", "1")

    async def _submit(
        self,
        req: EdgeRequest,
        resp: Response,
        headers: CallHeaders,
        request: ParsedRequest,
        *,
        status: str,
        background: bool,
    ) -> None:
        ticket = await self._services.submissions.submit(ENDPOINT, headers, request, request_id_of(req))
        resp.data = dropin.unfinished(
            str(ticket.id), status, ticket.created_at.timestamp(), model=request.targets[0].model, background=background
        )
        self._point_to(resp, ticket)

    def _point_to(self, resp: Response, ticket: Ticket) -> None:
        resp.set_header("Location", f"{self._path}/{ticket.id}")
        resp.set_header("Retry-After", "1")
        if ticket.replayed:
            resp.set_header("x-coatcheck-replayed", "true")

    async def _wait_for(self, ticket: Ticket, headers: CallHeaders, resp: Response) -> None:
        view = await self._ended(str(ticket.id), headers.virtual_key)
        if view is not None:
            await self._answer_ended(resp, view)
            return
        self._point_to(resp, ticket)
        resp.set_header("x-should-retry", "false")  # read by the openai package: a retry would be a second job
        raise StillRunning(
            f"job {ticket.id} has not ended after {self._services.max_wait:g} s and goes on: "
            f"collect it with GET {self._path}/{ticket.id} or GET {ENDPOINT.path}/{ticket.id}; "
            "`background: true` submits without waiting"
        )

    async def _ended(self, job_id: str, secret: bytes | None) -> JobView | None:
        """The job once it has ended, or None when the wait is over. Looks less and less often."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._services.max_wait
        pause = FIRST_LOOK_SECONDS
        while (left := give_up - loop.time()) > 0:
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
            # The job is accepted: an error now would make the caller submit a second one.
            with contextlib.suppress(StoreUnavailable, Overloaded):
                view = await self._services.collector.collect(job_id, secret, ENDPOINT.request_type)
                if view.status.terminal:
                    return view
        return None

    async def _answer_ended(self, resp: Response, view: JobView) -> None:
        """The provider's own object, or the stored error under its own status."""
        if view.status is Status.COMPLETED:
            resp.data = await self._made_of(view, dropin.completed)
            return
        resp.status = view.status_code if 400 <= view.status_code <= 599 else 500
        resp.set_header("x-should-retry", "false")  # the provider was already asked as often as it should be
        resp.data = await self._made_of(view, lambda stored: stored)

    async def _made_of(self, view: JobView, make: Callable[[bytes], bytes]) -> bytes:
        """A stored body in another shape; a large one is rewritten in a thread."""
        if isinstance(view.body, PayloadRef):
            return await asyncio.to_thread(make, await self._services.results.load(view.body))
        if view.body is None:
            raise ValueError(f"job {view.id} has ended without a body")
        return make(view.body)
