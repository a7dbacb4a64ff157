"""One submit from its headers and body to a stored job, in the order in which its errors are reported."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from edge.http.request_headers import CallHeaders
from edge.submit.auth import KeyLookup, permitted
from edge.submit.backpressure import Backpressure
from edge.submit.idempotency import fingerprint
from edge.submit.validation import ParsedRequest
from edge.submit.writer import JobWriter
from shared.domain.catalogue import CATALOGUE, Endpoint
from shared.domain.errors import BadRequest, KeyConflict
from shared.domain.ids import keyed_job_id, new_job_id
from shared.domain.job import JobView, NewJob
from shared.domain.store_interface import EdgeStore
from shared.settings.table import Settings
from shared.telemetry.metrics import JOBS_ACCEPTED, JOBS_REPLAYED

_accepted = {endpoint.request_type: JOBS_ACCEPTED.labels(endpoint.request_type) for endpoint in CATALOGUE}
_replayed = {endpoint.request_type: JOBS_REPLAYED.labels(endpoint.request_type) for endpoint in CATALOGUE}


class Ticket(msgspec.Struct, frozen=True):
    """What a submitter gets. `existing`: the job as it was found, if the same Idempotency-Key made it before."""

    id: UUID
    request_id: str
    created_at: datetime
    existing: JobView | None = None

    @property
    def ended(self) -> JobView | None:
        return self.existing if self.existing is not None and self.existing.status.terminal else None


@dataclass(frozen=True, slots=True)
class Submissions:
    """Turns valid requests into jobs."""

    store: EdgeStore
    job_writer: JobWriter
    key_lookup: KeyLookup
    settings: Settings
    backpressure: Backpressure

    def admit(self, endpoint: Endpoint, headers: CallHeaders) -> None:
        """Ask before the body is read. Raises Unauthenticated, or Overloaded when too many jobs wait."""
        self.key_lookup.require(headers.virtual_key)
        self.backpressure.require(endpoint.modality)

    async def submit(self, endpoint: Endpoint, headers: CallHeaders, request: ParsedRequest, request_id: str) -> Ticket:
        """Store the job, or find the one that the same Idempotency-Key made. Raises a Refusal or StoreUnavailable."""
        job = await self._job(endpoint, headers, request, request_id)
        existing = (await self.job_writer.take(job)).existing
        if existing is None:
            _accepted[endpoint.request_type].inc()
            return Ticket(job.id, request_id, job.created_at)
        if existing.fingerprint != job.fingerprint:
            used = "it was used for another request before: use a new key for a new request"
            raise KeyConflict(f"header 'Idempotency-Key': {used}")
        _replayed[endpoint.request_type].inc()
        return Ticket(existing.id, existing.request_id, existing.created_at, existing)

    async def _job(self, endpoint: Endpoint, headers: CallHeaders, request: ParsedRequest, request_id: str) -> NewJob:
        settings = self.settings
        idempotency_key = headers.idempotency_key
        deadline = headers.deadline(maximum=settings.job_deadline_seconds)
        key = await self.key_lookup.submitter(headers.virtual_key)
        targets = permitted(key, request.targets)
        if headers.webhook is not None:
            raise BadRequest("header 'x-bf-async-webhook': no webhook of this name is registered: leave the header out")
        key_id = None if key is None else key.id
        body, forward, extra_params = request.digest, headers.forward, headers.extra_params
        now = self.store.now()
        return NewJob(
            id=await self._keyed_id(key_id, idempotency_key) if idempotency_key else new_job_id(now.timestamp()),
            request_type=endpoint.request_type,
            modality=endpoint.modality,
            targets=targets,
            content=request.content,
            forward=forward,
            extra_params=extra_params,
            request_id=request_id,
            key_id=key_id,
            fingerprint=body and fingerprint(endpoint.request_type, body, forward, extra_params),
            created_at=now,
            deadline_at=now + timedelta(seconds=deadline),
            result_ttl=headers.result_ttl(default=settings.result_ttl_seconds, maximum=settings.result_ttl_max_seconds),
        )

    async def _keyed_id(self, key_id: str | None, idempotency_key: str) -> UUID:
        return keyed_job_id(await self.store.id_secret(), key_id, idempotency_key)
