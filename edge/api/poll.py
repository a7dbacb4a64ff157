"""GET with an id collects a job: 202 while it runs, 200 once it has ended."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from falcon.asgi import Response

from edge.http.request import EdgeRequest
from edge.http.request_headers import read_headers
from edge.ingress.concurrency import ConcurrencyLimit
from edge.poll import envelope
from edge.poll.reader import JobReader, until_ended
from edge.poll.result_stream import ResultStream
from shared.domain.catalogue import Endpoint
from shared.domain.job import JobView

MAX_WAIT_SECONDS = 20
"""Longest wait of a poll: shorter than a stopping edge and most load balancers give a request."""
LONGEST_PAUSE_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class PollResource:
    endpoint: Endpoint
    job_reader: JobReader
    results: ResultStream
    waiters: ConcurrencyLimit

    async def on_get(self, req: EdgeRequest, resp: Response, job_id: str) -> None:
        """202 while the job runs and 200 once it has ended, whichever way."""
        headers = read_headers(req.scope["headers"])
        secret, kind = headers.virtual_key, self.endpoint.request_type
        view = await self.job_reader.collect(job_id, secret, kind)
        if headers.wait and not view.status.terminal and self.waiters.open:
            seconds = min(headers.wait, MAX_WAIT_SECONDS)
            look = partial(self.job_reader.collect, job_id, secret, kind)
            with self.waiters:
                async with req.waiting_client() as pause:
                    view = await until_ended(look, pause, seconds, LONGEST_PAUSE_SECONDS) or view
            req.restart_clock()
            resp.set_header("Preference-Applied", f"wait={seconds}")
        await show(req, resp, view, self.job_reader, self.results)

    on_head = on_get


async def show(req: EdgeRequest, resp: Response, view: JobView, job_reader: JobReader, results: ResultStream) -> None:
    resp.set_header("Cache-Control", "no-store")
    if view.status.terminal:
        await results.write(req, resp, view)
    else:
        resp.status = 202
        resp.data = envelope.running(view)
        resp.set_header("Retry-After", job_reader.retry_after(view.request_type, view.created_at))
