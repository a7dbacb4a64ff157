"""The two routes of every endpoint of the catalogue: POST submits, GET with an id collects."""

from __future__ import annotations

from collections.abc import AsyncIterator

from falcon.asgi import Response

from edge import envelope
from edge.bodies import BodyReader
from edge.collect import Collector
from edge.errors import request_id_of
from edge.gate import Gate, Turnstile
from edge.headers import read_headers
from edge.request import EdgeRequest
from edge.submission import Submissions
from shared.catalogue import Endpoint
from shared.job import JobView, PayloadRef
from shared.store import EdgeStore

MAX_WHOLE = 4
"""Large results held whole in memory at a time; streamed ones take a chunk each."""
PIECE_BYTES = 1024 * 1024
"""What goes to the connection at a time: it keeps a copy of what a slow reader has not taken."""
MAX_WAIT_SECONDS = 20
"""Longest wait of a poll: shorter than a stopping edge and most load balancers give a request."""
_BUSY = "too many large results are being sent: retry in a moment"


class SubmitResource:
    """POST on an endpoint's path."""

    def __init__(self, endpoint: Endpoint, reader: BodyReader, submissions: Submissions, collector: Collector) -> None:
        self._endpoint = endpoint
        self._collector = collector
        self._reader = reader
        self._submissions = submissions

    async def on_post(self, req: EdgeRequest, resp: Response) -> None:
        """Store a job and answer 202."""
        headers = read_headers(req.scope["headers"])
        self._submissions.admit(self._endpoint, headers)
        data = await req.whole_body()
        req.is_complete()
        request = await self._reader.read(data, headers.content_type, digest=headers.is_keyed)
        ticket = await self._submissions.submit(self._endpoint, headers, request, request_id_of(req))
        resp.status = 202
        job_id = str(ticket.id)
        resp.data = envelope.accepted(job_id, ticket.request_id, ticket.created_at)
        resp.set_header("Location", f"{self._endpoint.path}/{job_id}")
        created_at = ticket.created_at if ticket.replayed else None
        resp.set_header("Retry-After", self._collector.retry_after(self._endpoint.request_type, created_at))
        if ticket.replayed:
            resp.set_header("x-coatcheck-replayed", "true")


class PollResource:
    """GET and HEAD on the path of one job."""

    def __init__(self, endpoint: Endpoint, collector: Collector, results: ResultStream, waiters: Gate) -> None:
        self._endpoint = endpoint
        self._waiters = waiters
        self._collector = collector
        self._results = results

    async def on_get(self, req: EdgeRequest, resp: Response, job_id: str) -> None:
        """Answer 202 while the job runs and 200 once it has ended, whichever way."""
        headers = read_headers(req.scope["headers"])
        view = await self._collector.collect(job_id, headers.virtual_key, self._endpoint.request_type)
        if headers.wait and not view.status.terminal and self._waiters.open:
            seconds = min(headers.wait, MAX_WAIT_SECONDS)
            with self._waiters:
                view = await self._collector.until_ended(view, headers.virtual_key, seconds)
            req.is_complete()
            resp.set_header("Preference-Applied", f"wait={seconds}")
        resp.set_header("Cache-Control", "no-store")
        if view.status.terminal:
            await self._results.write(req, resp, view)
        else:
            resp.status = 202
            resp.data = envelope.running(view)
            resp.set_header("Retry-After", self._collector.retry_after(view.request_type, view.created_at))

    on_head = on_get


class ResultStream:
    """Writes ended jobs: small bodies as they are, large ones chunk by chunk."""

    def __init__(self, store: EdgeStore, max_streams: int) -> None:
        self._store = store
        self._gate = Gate(max_streams, _BUSY)
        self._whole = Turnstile(MAX_WHOLE, 2.0, _BUSY)

    async def write(self, req: EdgeRequest, resp: Response, view: JobView) -> None:
        """Write the envelope of a job that has ended."""
        if view.body is None:
            raise ValueError(f"job {view.id} has ended without a body")
        head, tail = envelope.ended(view)
        if isinstance(view.body, bytes):
            resp.data = head + view.body + tail
            return
        resp.content_type = envelope.MEDIA_TYPE
        resp.content_length = len(head) + view.body.size + len(tail)
        if req.method != "HEAD":
            pieces = self._pieces(head, view.body, tail)
            # The first chunk is read before the status goes out: an error can still be answered as one.
            resp.stream = _resumed(await anext(pieces), pieces)

    async def load(self, ref: PayloadRef) -> bytes:
        """A whole stored body, for an answer that is made of it."""
        async with self._whole:
            return b"".join([chunk async for chunk in self._store.read_payload(ref)])

    async def _pieces(self, head: bytes, ref: PayloadRef, tail: bytes) -> AsyncIterator[bytes]:
        with self._gate:
            async for chunk in self._store.read_payload(ref):
                for start in range(0, len(chunk), PIECE_BYTES):
                    piece = chunk[start : start + PIECE_BYTES]
                    yield head + piece if head else piece
                    head = b""
            yield tail


async def _resumed(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece
