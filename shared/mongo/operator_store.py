"""What an operator asks about jobs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pymongo

from shared.domain.catalogue import MODALITIES
from shared.domain.content import Content
from shared.domain.errors import CoatcheckError, Unreadable
from shared.domain.ids import keyed_job_id
from shared.domain.job import NewJob, PayloadRef, Status
from shared.domain.store_interface import Accepted
from shared.mongo.connection.client import Database, unavailable
from shared.mongo.documents import codec, payloads, transitions
from shared.mongo.documents.layout import StoredHistory, StoredJob, checked
from shared.mongo.documents.payloads import OrphanSearch
from shared.mongo.documents.unreadable import sorted_out
from shared.mongo.edge_store import MongoEdgeStore
from shared.telemetry.redaction import redact

MAX_ERROR_CHARACTERS = 300
MAX_LOOKED_AT = 10_000
_MAX_LINES = 20
ORPHAN_BATCH = 1000
ORPHAN_BATCHES = 50
_EPOCH = datetime.fromtimestamp(0, UTC)
log = logging.getLogger(__name__)
_SCAN_SECONDS = 60.0  # no index is in order of what is asked, so that accepting and finishing jobs pays for none
_SIZES = {"request_bytes": "request", "result_bytes": "result"}
_NO_BODIES = {"request.data": False, "result.data": False, "fingerprint": False, "forward": False}
_FAILED_FIELDS = dict.fromkeys(
    ["modality", "type", "provider", "model", "status_code", "error", "created_at", "completed_at", "expires_at"], True
)


@dataclass(frozen=True, slots=True)
class FailedJobs:
    """Which failed jobs are meant; what is not given does not matter. Those that nobody can read never are."""

    provider: str = ""
    model: str = ""
    request_type: str = ""
    status_codes: tuple[int, ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    def query(self) -> dict[str, Any]:
        named = {"provider": self.provider, "model": self.model, "type": self.request_type}
        spans = {"$gte": self.since, "$lt": self.until}
        span = {operator: moment for operator, moment in spans.items() if moment is not None}
        return {
            "status": Status.FAILED.value,
            "set_aside": None,
            **{name: {"$eq": value} for name, value in named.items() if value},
            **({"status_code": {"$in": list(self.status_codes)}} if self.status_codes else {}),
            **({"completed_at": span} if span else {}),
        }


@dataclass(frozen=True, slots=True)
class Holding:
    """What one worker runs of one modality; `longest` is seconds since the oldest of these claims."""

    worker: str
    modality: str
    jobs: int
    longest: float


class NotRequeued(CoatcheckError):
    """The job cannot be done again; the message says why."""


class OperatorStore:
    """Bodies never leave it."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._plain = database.jobs.with_options(codec_options=codec.PLAIN_CODEC)
        self._zoned = database.jobs.with_options(codec_options=codec.PLAIN_CODEC.with_options(tz_aware=True))

    async def history(self, job_id: UUID) -> dict[str, Any] | None:
        """Everything that is stored about a job except its bodies; None without such a job. Raises Unreadable."""
        sizes = {name: _size_of(field) for name, field in _SIZES.items()}
        with self._db.bounded("reading a job"):
            steps: list[dict[str, Any]] = [{"$match": {"_id": job_id}}, {"$set": sizes}, {"$project": _NO_BODIES}]
            documents = await (await self._db.jobs.aggregate(steps)).to_list()
        return _history(documents[0], job_id) if documents else None

    async def failed_jobs(self, limit: int = 100) -> list[dict[str, Any]]:
        """Failed jobs that have not expired, those that expire last first."""
        query = {"expires_at": {"$gt": self._db.now()}, "status": Status.FAILED.value}
        with unavailable("looking for failed jobs"), pymongo.timeout(_SCAN_SECONDS):
            documents = await self._zoned.find(query, _FAILED_FIELDS).sort("expires_at", -1).limit(limit).to_list()
        return [failed(document) for document in documents]

    async def requeueable(self, which: FailedJobs, limit: int) -> tuple[int, list[UUID]]:
        """How many are wanted that neither expired nor were requeued; the ids of the first that can be read."""
        query = {**which.query(), "expires_at": {"$gt": self._db.now()}, "requeued_as": None}
        with unavailable("looking for failed jobs"), pymongo.timeout(_SCAN_SECONDS):
            count = await self._plain.count_documents(query, hint="failed")
            cursor = self._plain.find(query, {"_id": True}).hint("failed").sort("completed_at", 1).limit(limit)
            documents = await cursor.to_list()
        ids, problems = sorted_out(documents, codec.job_id_of)
        for stored, problem in problems[:_MAX_LINES]:
            log.warning("job %s cannot be read, it is left alone: %s", codec.id_text(stored), problem)
        return count - len(problems), ids

    async def set_aside(self) -> int:
        """How many jobs of the last day could not be read, looking at no more than MAX_LOOKED_AT that failed."""
        since = self._db.now() - timedelta(seconds=transitions.SET_ASIDE_SECONDS)
        pipeline: list[dict[str, Any]] = [
            {"$match": {"status": Status.FAILED.value, "completed_at": {"$gt": since}}},
            {"$sort": {"completed_at": -1}},
            {"$limit": MAX_LOOKED_AT},
            {"$match": {"set_aside": True}},
            {"$count": "jobs"},
        ]
        with self._db.bounded("counting what was set aside"):
            documents = await (await self._db.jobs.aggregate(pipeline, hint="failed")).to_list()
        return int(documents[0]["jobs"]) if documents else 0

    async def recent_failures(self, seconds: float, limit: int) -> list[dict[str, Any]]:
        """Jobs that failed in the last `seconds`, newest first."""
        query = {"status": Status.FAILED.value, "completed_at": {"$gt": self._db.now() - timedelta(seconds=seconds)}}
        with self._db.bounded("reading failures"):
            cursor = self._zoned.find(query, _FAILED_FIELDS).hint("failed").sort("completed_at", -1).limit(limit)
            documents = await cursor.to_list()
        return [failed(document) for document in documents]

    async def held(self, limit: int) -> list[Holding]:
        """Who runs how many jobs, looking at no more than `limit` of them."""
        running = {"modality": {"$in": list(MODALITIES)}, "status": Status.PROCESSING.value, "wake_at": {"$gt": _EPOCH}}
        each_one = {"worker": "$lease.worker", "modality": "$modality"}
        pipeline: list[dict[str, Any]] = [
            {"$match": running},
            {"$limit": limit},
            {"$project": {"_id": 0, "modality": 1, "lease": 1}},
            {"$group": {"_id": each_one, "jobs": {"$sum": 1}, "since": {"$min": "$lease.at"}}},
        ]
        now = self._db.now()
        with self._db.bounded("reading who holds what"):
            groups = await (await self._db.jobs.aggregate(pipeline, hint="due")).to_list()
        return [
            Holding(**group["_id"], jobs=group["jobs"], longest=max(0.0, (now - group["since"]).total_seconds()))
            for group in groups
            if isinstance(group["_id"].get("worker"), str) and isinstance(group["since"], datetime)
        ]

    async def orphaned_chunks(self, older_than: float, batches: int = ORPHAN_BATCHES) -> int:
        """How many of `batches` times ORPHAN_BATCH chunks, older than `older_than` seconds, no job points to."""
        search, border = OrphanSearch(self._db), self._db.now() - timedelta(seconds=older_than)
        count = 0
        for _ in range(batches):
            found, last = await search.next(ORPHAN_BATCH, border)
            count += len(found)
            if last:
                break
        return count

    async def requeue(self, job_id: UUID) -> NewJob:
        """Submit a copy of a failed job under a new id, with a new deadline, and return it. Workers are not told here.

        The failed job says `requeued_as`. Whoever copies it before, at the same time or after a crash, gets the same
        copy. Raises NotRequeued with the reason, Unreadable for one that cannot be read.
        """
        with self._db.bounded("reading a job"):
            document = await self._plain.find_one({"_id": codec.binary(job_id), "status": Status.FAILED.value})
        if document is None:
            raise NotRequeued(f"job {job_id} is no failed job: `coatcheck dead list` shows them")
        if "request" not in document:
            raise NotRequeued(f"the request of job {job_id} was not kept: submit it again")
        _check_readable(document, job_id)
        former = document.get("requeued_as")
        copy_id = keyed_job_id(job_id.bytes, None, f"requeued, {former.hex() if isinstance(former, bytes) else former}")
        job = _copy(document, copy_id, await self._request(document["request"], job_id), self._db.now())
        store, large = MongoEdgeStore(self._db), "payload" in document["request"]
        ref = await store.save_request(job) if large else None
        (outcome,) = await store.submit([(job, ref)])
        if not isinstance(outcome, Accepted):
            raise outcome.reason
        if ref:
            await store.discard_request(job.id, ref)  # unless this call is the one that made the copy
        await self._note(job_id, job.id, former)  # last, so that whoever reads the note finds the copy
        return job

    async def _note(self, job_id: UUID, copy_id: UUID, former: Any) -> None:
        transition = transitions.requeued(job_id, copy_id, former)
        with self._db.bounded("noting a copy"):
            await self._db.jobs.update_one(transition.filter, transition.update)

    async def _request(self, stored: Mapping[str, Any], job_id: UUID) -> Content:
        body = codec.decode_body(dict(stored))
        if isinstance(body, PayloadRef):
            try:
                with unavailable("reading a body"), pymongo.timeout(_SCAN_SECONDS):
                    body = await payloads.read_all(self._db, body)
            except LookupError:
                raise NotRequeued(f"the request of job {job_id} is gone, its time was up: submit it again") from None
        return Content(stored["kind"], body, stored["content_type"])


def _size_of(field: str) -> dict[str, Any]:
    """Bytes of a body: as noted for one in chunks, measured for an inline one, null without one."""
    inline = {"$cond": [{"$eq": [{"$type": f"${field}.data"}, "binData"]}, {"$binarySize": f"${field}.data"}, None]}
    return {"$ifNull": [f"${field}.size", inline]}


def _check_readable(document: Mapping[str, Any], job_id: UUID) -> None:
    try:
        checked(document, StoredJob)
    except Unreadable as error:
        aside = " and was set aside" if document.get("set_aside") else ""
        remedy = "nothing can be copied of it, submit it again"
        raise Unreadable(f"job {job_id} cannot be read ({error}){aside}: {remedy}") from None


def _copy(document: Mapping[str, Any], copy_id: UUID, content: Content, now: datetime) -> NewJob:
    return NewJob(
        id=copy_id,
        request_type=document["type"],
        modality=document["modality"],
        targets=codec.decode_targets(document),
        content=content,
        forward=tuple((name, value) for name, value in document.get("forward", ())),
        extra_params=document.get("extra_params", False),
        request_id=document.get("request_id", ""),
        key_id=document.get("key_id"),
        fingerprint=None,
        created_at=now,
        deadline_at=now + (document["deadline_at"] - document["created_at"]),
        result_ttl=document["result_ttl"],
    )


def _history(document: Mapping[str, Any], job_id: UUID) -> dict[str, Any]:
    try:
        checked(document, StoredHistory)
    except Unreadable as error:
        raise Unreadable(f"job {job_id} cannot be read: {error}") from None
    lease = document.get("lease")
    claim = ("worker", "due", "at", "taken_over", "source")
    entries: dict[str, Any] = {
        "id": str(document["_id"]),
        **{name: document[name] for name in ("type", "modality", "status")},
        "targets": [f"{target.provider}/{target.model}" for target in codec.decode_targets(document)],
        **{name: document.get(name) for name in ("key_id", "request_id", "created_at", "deadline_at", "wake_at")},
        **{name: document.get(name, 0) for name in ("claims", "failures", "crashes", "releases")},
        "last_claim": {name: lease.get(name) for name in claim} if lease else None,
        "attempts": document.get("attempts", []),
        **{name: document.get(name) for name in ("completed_at", "expires_at", "status_code")},
        "error": _error_text(document),
        "requeued_as": str(document["requeued_as"]) if document.get("requeued_as") else None,
        **{name: document.get(name) for name in _SIZES},
    }
    return {name: value for name, value in entries.items() if value is not None}


def failed(document: Mapping[str, Any]) -> dict[str, Any]:
    """A failed job in a list. Of one that cannot be read what can be, in a form that everybody can sort and print."""

    def known(name: str, kind: type, otherwise: Any) -> Any:
        value = document.get(name)
        return value if isinstance(value, kind) else otherwise

    return {
        "id": codec.id_text(document["_id"]),
        **{name: known(name, str, "?") for name in ("type", "modality")},
        "target": f"{known('provider', str, '?')}/{known('model', str, '?')}",
        "status_code": known("status_code", int, None),
        "error": _error_text(document),
        **{name: known(name, datetime, _EPOCH) for name in ("created_at", "completed_at", "expires_at")},
    }


def _error_text(document: Mapping[str, Any]) -> str | None:
    """The message of a stored error body, shortened."""
    stored = document.get("error")
    data = stored.get("data") if isinstance(stored, dict) else None
    if not isinstance(data, bytes):
        return None
    try:
        message = msgspec.json.decode(data)["error"]["message"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return None
    return redact(str(message))[:MAX_ERROR_CHARACTERS]
