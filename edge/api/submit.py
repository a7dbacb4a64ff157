"""POST submits a job: 202 and its id."""

from __future__ import annotations

from dataclasses import dataclass

from falcon.asgi import Response

from edge.api.poll import show
from edge.http.errors import request_id_of
from edge.http.request import EdgeRequest
from edge.http.request_headers import read_headers
from edge.poll import envelope
from edge.poll.reader import JobReader
from edge.poll.result_stream import ResultStream
from edge.submit.submission import Submissions
from edge.submit.validation import BodyReader
from shared.domain.catalogue import Endpoint


@dataclass(frozen=True, slots=True)
class SubmitResource:
    endpoint: Endpoint
    reader: BodyReader
    submissions: Submissions
    job_reader: JobReader
    results: ResultStream

    async def on_post(self, req: EdgeRequest, resp: Response) -> None:
        """Store a job: 202. A repeated submit is answered like a poll of the job that it made before."""
        headers = read_headers(req.scope["headers"])
        self.submissions.admit(self.endpoint, headers)
        request = await self.reader.read(await req.whole_body(), headers.content_type, digest=headers.is_keyed)
        ticket = await self.submissions.submit(self.endpoint, headers, request, request_id_of(req))
        job_id = str(ticket.id)
        resp.set_header("Location", f"{self.endpoint.path}/{job_id}")
        if ticket.existing is not None:
            resp.set_header("x-coatcheck-replayed", "true")
            req.scope["state"]["body"].release_early()  # it is not needed, however long the answer takes
            await show(req, resp, ticket.existing, self.job_reader, self.results)
            return
        resp.status = 202
        resp.data = envelope.accepted(job_id, ticket.request_id, ticket.created_at)
        resp.set_header("Retry-After", self.job_reader.retry_after(self.endpoint.request_type))
