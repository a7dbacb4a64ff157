"""What an operator asks about jobs: the history of one, the failed ones, and a failed one done again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pymongo

from shared.catalogue import MODALITIES
from shared.content import Content
from shared.errors import CoatcheckError
from shared.ids import new_job_id
from shared.job import NewJob, PayloadRef, Status
from shared.mongo import codec, payloads
from shared.mongo.client import Database, unavailable
from shared.mongo.edge_store import EdgeVerbs
from shared.providers import Target
from shared.redaction import redact
from shared.store import Accepted

MAX_ERROR_CHARACTERS = 300
_EPOCH = datetime.fromtimestamp(0, UTC)
_SCAN_SECONDS = 60.0
"""Failed jobs have no index of their own, so that accepting and finishing jobs pays for none."""

_SIZES = {"request_bytes": "request", "result_bytes": "result"}
_NO_BODIES = {"request.data": False, "result.data": False, "fingerprint": False, "forward": False}
_FAILED_FIELDS = dict.fromkeys(
    ["modality", "type", "provider", "model", "status_code", "error", "created_at", "completed_at", "expires_at"], True
)


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
    """Reads histories and copies failed jobs. Bodies never leave it."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def history(self, job_id: UUID) -> dict[str, Any] | None:
        """Everything that is stored about a job except its bodies; None when there is no such job."""
        sizes = {name: _size_of(field) for name, field in _SIZES.items()}
        with self._db.bounded("reading a job"):
            cursor = await self._db.jobs.aggregate(
                [{"$match": {"_id": job_id}}, {"$set": sizes}, {"$project": _NO_BODIES}]
            )
            documents = await cursor.to_list()
        return _history(documents[0]) if documents else None

    async def failed_jobs(self, limit: int = 100) -> list[dict[str, Any]]:
        """Failed jobs that have not expired, those that expire last first."""
        query = {"expires_at": {"$gt": self._db.now()}, "status": Status.FAILED.value}
        with unavailable("looking for failed jobs"), pymongo.timeout(_SCAN_SECONDS):
            cursor = self._db.jobs.find(query, _FAILED_FIELDS).sort("expires_at", -1).limit(limit)
            documents = await cursor.to_list()
        return [_failed(document) for document in documents]

    async def recent_failures(self, seconds: float, limit: int) -> list[dict[str, Any]]:
        """Jobs that failed in the last `seconds`, newest first. Cheap: an index holds failed jobs alone."""
        query = {"status": Status.FAILED.value, "completed_at": {"$gt": self._db.now() - timedelta(seconds=seconds)}}
        with self._db.bounded("reading failures"):
            cursor = self._db.jobs.find(query, _FAILED_FIELDS).hint("failed").sort("completed_at", -1).limit(limit)
            documents = await cursor.to_list()
        return [_failed(document) | {"modality": document["modality"]} for document in documents]

    async def held(self, limit: int) -> list[Holding]:
        """Who runs how many jobs, looking at no more than `limit` of them."""
        running = {"modality": {"$in": list(MODALITIES)}, "status": Status.PROCESSING.value, "wake_at": {"$gt": _EPOCH}}
        pipeline: list[dict[str, Any]] = [
            {"$match": running},
            {"$limit": limit},
            {"$project": {"_id": 0, "modality": 1, "lease": 1}},
            {
                "$group": {
                    "_id": {"worker": "$lease.worker", "modality": "$modality"},
                    "jobs": {"$sum": 1},
                    "since": {"$min": "$lease.at"},
                }
            },
        ]
        now = self._db.now()
        with self._db.bounded("reading who holds what"):
            cursor = await self._db.jobs.aggregate(pipeline, hint="due")
            groups = await cursor.to_list()
        return [
            Holding(
                group["_id"].get("worker", ""),
                group["_id"]["modality"],
                group["jobs"],
                max(0.0, (now - group["since"]).total_seconds()),
            )
            for group in groups
        ]

    async def requeue(self, job_id: UUID) -> NewJob:
        """Submit a copy of a failed job under a new id, with a new deadline, and return it. Nobody is told of it here.

        Raises NotRequeued when the job is unknown, has not failed, or its request is gone.
        """
        with self._db.bounded("reading a job"):
            document = await self._db.jobs.find_one({"_id": job_id, "status": Status.FAILED.value})
        if document is None:
            raise NotRequeued(f"job {job_id} is no failed job: `coatcheck dead list` shows them")
        if "request" not in document:
            raise NotRequeued(f"the request of job {job_id} was not kept: submit it again")
        job = _copy(document, await self._request(document["request"], job_id), self._db.now())
        store = EdgeVerbs(self._db)
        large = isinstance(codec.decode_body(document["request"]), PayloadRef)
        ref = await store.save_request(job.content, job.deadline_at) if large else None
        (outcome,) = await store.submit([(job, ref)])
        if not isinstance(outcome, Accepted):
            raise outcome.reason
        return job

    async def _request(self, stored: Mapping[str, Any], job_id: UUID) -> Content:
        body = codec.decode_body(dict(stored))
        if isinstance(body, PayloadRef):
            try:
                with unavailable("reading a body"), pymongo.timeout(_SCAN_SECONDS):
                    body = b"".join(
                        [await payloads.read_chunk(self._db, body, number) for number in range(body.chunks)]
                    )
            except LookupError:
                raise NotRequeued(f"the request of job {job_id} is gone, its time was up: submit it again") from None
        return Content(stored["kind"], body, stored["content_type"])


def _size_of(field: str) -> dict[str, Any]:
    """Bytes of a body: as noted for one in chunks, measured for an inline one, null without one."""
    inline = {"$cond": [{"$eq": [{"$type": f"${field}.data"}, "binData"]}, {"$binarySize": f"${field}.data"}, None]}
    return {"$ifNull": [f"${field}.size", inline]}


def _copy(document: Mapping[str, Any], content: Content, now: datetime) -> NewJob:
    return NewJob(
        id=new_job_id(now.timestamp()),
        request_type=document["type"],
        modality=document["modality"],
        targets=_targets(document),
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


def _targets(document: Mapping[str, Any]) -> tuple[Target, ...]:
    each = (document, *document.get("fallbacks", ()))
    return tuple(Target(one["provider"], one["model"], bytes(one.get("params", b""))) for one in each)


def _history(document: Mapping[str, Any]) -> dict[str, Any]:
    lease = document.get("lease")
    entries: dict[str, Any] = {
        "id": str(document["_id"]),
        "type": document["type"],
        "modality": document["modality"],
        "status": document["status"],
        "targets": [f"{target.provider}/{target.model}" for target in _targets(document)],
        "key_id": document.get("key_id"),
        "request_id": document.get("request_id"),
        "created_at": document["created_at"],
        "deadline_at": document["deadline_at"],
        "wake_at": document.get("wake_at"),
        "claims": document.get("claims", 0),
        "failures": document.get("failures", 0),
        "crashes": document.get("crashes", 0),
        "releases": document.get("releases", 0),
        "last_claim": {name: lease.get(name) for name in ("worker", "due", "at", "taken_over", "source")}
        if lease
        else None,
        "attempts": document.get("attempts", []),
        "completed_at": document.get("completed_at"),
        "expires_at": document.get("expires_at"),
        "status_code": document.get("status_code"),
        "error": _error_text(document),
        **{name: document.get(name) for name in _SIZES},
    }
    return {name: value for name, value in entries.items() if value is not None}


def _failed(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": str(document["_id"]),
        "type": document["type"],
        "target": f"{document['provider']}/{document['model']}",
        "status_code": document.get("status_code"),
        "error": _error_text(document),
        "created_at": document["created_at"],
        "completed_at": document["completed_at"],
        "expires_at": document["expires_at"],
    }


def _error_text(document: Mapping[str, Any]) -> str | None:
    """The message of a stored error body, shortened."""
    stored = document.get("error")
    if not stored or "data" not in stored:
        return None
    try:
        message = msgspec.json.decode(bytes(stored["data"]))["error"]["message"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return None
    return redact(str(message))[:MAX_ERROR_CHARACTERS]
