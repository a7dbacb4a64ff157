"""One submit from its headers and body to a stored job, in the order in which its errors are reported."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from edge.admission import Admission
from edge.bodies import ParsedRequest
from edge.gathered import Gathered
from edge.headers import CallHeaders
from edge.idempotency import fingerprint
from edge.intake import Intake
from edge.principal import Principals, permitted
from shared.catalogue import CATALOGUE, Endpoint
from shared.errors import BadRequest, KeyConflict
from shared.ids import keyed_job_id, new_job_id
from shared.job import NewJob
from shared.metrics import JOBS_ACCEPTED, JOBS_REPLAYED
from shared.settings import Settings
from shared.store import EdgeStore

_accepted = {endpoint.request_type: JOBS_ACCEPTED.labels(endpoint.request_type) for endpoint in CATALOGUE}
_replayed = {endpoint.request_type: JOBS_REPLAYED.labels(endpoint.request_type) for endpoint in CATALOGUE}


class Ticket(msgspec.Struct, frozen=True):
    """What a submitter gets. `replayed`: the job was there before, under the same Idempotency-Key."""

    id: UUID
    request_id: str
    created_at: datetime
    replayed: bool


class Submissions:
    """Turns valid requests into jobs."""

    def __init__(
        self, store: EdgeStore, intake: Intake, principals: Principals, settings: Settings, admission: Admission
    ) -> None:
        self._store = store
        self._intake = intake
        self._principals = principals
        self._settings = settings
        self._admission = admission
        self._accepted: Gathered[str] = Gathered(lambda request_type, ones: _accepted[request_type].inc(sum(ones)))

    def admit(self, endpoint: Endpoint, headers: CallHeaders) -> None:
        """Raise Unauthenticated when a key is needed and none was sent, Overloaded when too many jobs wait.

        To be asked before the body is read.
        """
        self._principals.require(headers.virtual_key)
        self._admission.require(endpoint.modality)

    async def submit(self, endpoint: Endpoint, headers: CallHeaders, request: ParsedRequest, request_id: str) -> Ticket:
        """Store the job, or find the one that the same Idempotency-Key made. Raises a Refusal or StoreUnavailable."""
        job = await self._job(endpoint, headers, request, request_id)
        existing = (await self._intake.take(job)).existing
        if existing is None:
            self._accepted.add(endpoint.request_type)
            return Ticket(job.id, request_id, job.created_at, replayed=False)
        if existing.fingerprint != job.fingerprint:
            raise KeyConflict(
                "header 'Idempotency-Key': it was used for another request before: use a new key for a new request"
            )
        _replayed[endpoint.request_type].inc()
        return Ticket(existing.id, existing.request_id, existing.created_at, replayed=True)

    async def _job(self, endpoint: Endpoint, headers: CallHeaders, request: ParsedRequest, request_id: str) -> NewJob:
        settings = self._settings
        idempotency_key = headers.idempotency_key
        deadline = headers.deadline(maximum=settings.job_deadline_seconds)
        key = await self._principals.submitter(headers.virtual_key)
        targets = permitted(key, request.targets)
        if headers.webhook is not None:
            raise BadRequest("header 'x-bf-async-webhook': no webhook of this name is registered: leave the header out")
        key_id = None if key is None else key.id
        now = self._store.now()
        return NewJob(
            id=await self._keyed_id(key_id, idempotency_key) if idempotency_key else new_job_id(now.timestamp()),
            request_type=endpoint.request_type,
            modality=endpoint.modality,
            targets=targets,
            content=request.content,
            forward=headers.forward,
            extra_params=headers.extra_params,
            request_id=request_id,
            key_id=key_id,
            fingerprint=_fingerprint(endpoint, headers, request),
            created_at=now,
            deadline_at=now + timedelta(seconds=deadline),
            result_ttl=headers.result_ttl(default=settings.result_ttl_seconds, maximum=settings.result_ttl_max_seconds),
        )

    async def _keyed_id(self, key_id: str | None, idempotency_key: str) -> UUID:
        return keyed_job_id(await self._store.id_secret(), key_id, idempotency_key)


def _fingerprint(endpoint: Endpoint, headers: CallHeaders, request: ParsedRequest) -> bytes | None:
    if request.digest is None:
        return None
    return fingerprint(endpoint.request_type, request.digest, headers.forward, headers.extra_params)
