"""Large bodies in numbered chunks beside the jobs. They live as long as a job points to them: what a killed process
left is found by reapers. `expires_at` is only the last bound, for a database that no reaper looks after.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from bson.binary import Binary
from pymongo import WriteConcern
from pymongo.errors import BulkWriteError

from shared.domain.job import DOCUMENT_VERSION, Finish, NewJob, PayloadRef, Status
from shared.mongo.connection.client import DUPLICATE_KEY, Database, Document
from shared.mongo.documents.codec import binary

CHUNK_BYTES = 8 * 1024 * 1024
"""Half of MongoDB's limit of 16 MB for a document, so that framing never matters."""
REQUEST_MARGIN = timedelta(days=1)
"""A request outlives the last moment at which its job can expire by this much: so long reapers may be away."""
RESULT_MARGIN = timedelta(hours=1)
"""A result's chunks outlive the job by this much, for the poll that streams them when the time is up."""
INDEX = "written"
_STATUSES = [status.value for status in Status]
_FIRST = datetime.fromtimestamp(0, UTC)
_BODIES = ("request", "result", "error")
_CHUNK_FIELDS = dict.fromkeys(["job", "lease", "written_at"], True)
_JOB_FIELDS = dict.fromkeys(["v", "status", "lease.id", *(f"{name}.payload" for name in _BODIES)], True)


@dataclass(frozen=True, slots=True)
class Owner:
    """Which job points to a body, or will. A result names the lease, under which alone it can be recorded."""

    job: UUID
    lease: UUID | None = None


@dataclass(frozen=True, slots=True)
class Body:
    ref: PayloadRef
    data: bytes = field(repr=False)
    owner: Owner
    expires_at: datetime


def request_ref(job: NewJob) -> PayloadRef:
    """New for every submit, so that no submit can touch the body of another."""
    return _ref(uuid4(), len(job.content.data))


def request_expiry(job: NewJob) -> datetime:
    """The job ends by its deadline, and one that failed keeps its request for as long as it is shown."""
    return job.deadline_at + timedelta(seconds=job.result_ttl) + REQUEST_MARGIN


def result_ref(record: Finish) -> PayloadRef:
    """The same each time a record is tried, so that a retry adds nothing."""
    text = b"%b%b%b%d" % (record.job_id.bytes, record.lease.bytes, record.status.encode(), len(record.body))
    return _ref(UUID(bytes=hashlib.blake2b(text, digest_size=16).digest()), len(record.body))


def result(record: Finish, now: datetime) -> Body:
    expires_at = now + timedelta(seconds=record.result_ttl) + RESULT_MARGIN
    return Body(result_ref(record), record.body, Owner(record.job_id, record.lease), expires_at)


def _ref(payload_id: UUID, size: int) -> PayloadRef:
    return PayloadRef(payload_id, size, -(-size // CHUNK_BYTES))


async def write(database: Database, bodies: Sequence[Body]) -> None:
    """Write all chunks, before the jobs that point to them, in as few inserts as hold at most CHUNK_BYTES each."""
    for group in _groups(_chunks(bodies, database.now())):
        try:
            await database.payloads.insert_many(group, ordered=False)
        except BulkWriteError as error:
            details = error.details or {}
            failures = details.get("writeErrors", [])
            if details.get("writeConcernErrors") or any(failure["code"] != DUPLICATE_KEY for failure in failures):
                raise
            for failure in failures:  # an earlier try left it
                await _renew(database, group[failure["index"]])


async def _renew(database: Database, chunk: Document) -> None:
    """Let a chunk that is there already live on. Somebody may delete it at this very moment: then it is inserted."""
    times = {name: chunk[name] for name in ("written_at", "expires_at")}
    renewed = await database.payloads.update_one({"_id": chunk["_id"]}, {"$max": times})
    if not renewed.matched_count:
        await database.payloads.insert_one(chunk)


def _chunks(bodies: Sequence[Body], now: datetime) -> Iterator[Document]:
    """One after the other, so that of a large body only what is under way is held twice."""
    for body in bodies:
        job, lease = binary(body.owner.job), body.owner.lease
        owner = {"job": job, "lease": binary(lease)} if lease else {"job": job}
        times = {"written_at": now, "expires_at": body.expires_at}
        for number in range(body.ref.chunks):
            piece = body.data[number * CHUNK_BYTES : (number + 1) * CHUNK_BYTES]
            yield {"_id": _chunk_id(body.ref, number), **owner, "data": Binary(piece), **times}


def _groups(chunks: Iterable[Document]) -> Iterator[list[Document]]:
    group: list[Document] = []
    total = 0
    for chunk in chunks:
        if group and total + len(chunk["data"]) > CHUNK_BYTES:
            yield group
            group, total = [], 0
        group.append(chunk)
        total += len(chunk["data"])
    if group:
        yield group


def _chunk_id(ref: PayloadRef, number: int) -> Document:
    return {"payload": binary(ref.payload_id), "n": number}


async def delete(database: Database, refs: Sequence[PayloadRef]) -> None:
    """Delete bodies that nothing points to. Not awaited from a majority: what comes back is found again."""
    ids = [_chunk_id(ref, number) for ref in refs for number in range(ref.chunks)]
    quick = database.payloads.with_options(write_concern=WriteConcern(w=1))
    await quick.delete_many({"_id": {"$in": ids}})


async def read_chunk(database: Database, ref: PayloadRef, number: int) -> bytes:
    """Raises LookupError when it is gone."""
    chunk = await database.payloads.find_one({"_id": _chunk_id(ref, number)}, {"data": True})
    if chunk is None:
        raise LookupError(f"chunk {number} of {ref.chunks} is gone")
    return bytes(chunk["data"])


async def read_all(database: Database, ref: PayloadRef) -> bytes:
    """Raises LookupError when a chunk is gone."""
    return b"".join([await read_chunk(database, ref, number) for number in range(ref.chunks)])


def _is_orphan(chunk: Document, job: Document | None) -> bool:
    """Whether no job points to a chunk, nor ever will. One that is odd, or newer, may point to anything.

    A result waits for a finish while its job runs under its lease. One without a job is that of an expired one, of
    which somebody may be reading the rest: its own expiry ends it.
    """
    key, lease = chunk["_id"], chunk.get("lease")
    if not isinstance(key, dict) or not isinstance(chunk.get("job"), UUID):
        return False
    if job is None:
        return lease is None
    version = job.get("v")
    known = isinstance(version, int) and version <= DOCUMENT_VERSION and job.get("status") in _STATUSES
    if not known or key.get("payload") in [_part(job, name, "payload") for name in _BODIES]:
        return False
    return lease is None or job["status"] != Status.PROCESSING or _part(job, "lease", "id") != lease


def _part(job: Mapping[str, Any], field: str, name: str) -> Any:
    value = job.get(field)
    return value.get(name) if isinstance(value, dict) else None


class OrphanSearch:
    """Goes through all chunks in the order of their writing, some at a time, and then again. Reads no bodies."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._after = _FIRST

    async def next(self, limit: int, written_before: datetime) -> tuple[list[Document], bool]:
        """Ids of orphans among the next `limit` chunks, and whether these were the last."""
        query = {"written_at": {"$gt": self._after, "$lte": written_before}}
        with self._db.bounded("looking for orphaned chunks"):
            cursor = self._db.payloads.find(query, _CHUNK_FIELDS).hint(INDEX).sort("written_at", 1).limit(limit)
            chunks = await cursor.to_list()
        last = len(chunks) < limit
        if not last and chunks[0]["written_at"] != (newest := chunks[-1]["written_at"]):
            # There may be more of this very millisecond: they come with the next ones.
            chunks = [chunk for chunk in chunks if chunk["written_at"] != newest]
        self._after = _FIRST if last else chunks[-1]["written_at"]
        jobs = await self._jobs(list({job for chunk in chunks if isinstance(job := chunk.get("job"), UUID)}))
        return [chunk["_id"] for chunk in chunks if _is_orphan(chunk, jobs.get(str(chunk.get("job"))))], last

    async def remove(self, limit: int, unowned: timedelta) -> tuple[int, bool]:
        """Delete orphans among the next `limit` chunks; how many, and whether these were the last."""
        border = self._db.now() - unowned
        found, last = await self.next(limit, border)
        if not found:
            return 0, last
        # Not chunks that a process, stopped for long, has written again meanwhile.
        with self._db.bounded("deleting orphaned chunks"):
            gone = await self._db.payloads.delete_many({"_id": {"$in": found}, "written_at": {"$lte": border}})
        return gone.deleted_count, last

    async def _jobs(self, ids: Sequence[UUID]) -> dict[str, Document]:
        if not ids:
            return {}
        with self._db.bounded("reading the jobs of chunks"):
            documents = await self._db.jobs.find({"_id": {"$in": ids}}, _JOB_FIELDS).to_list()
        return {str(document["_id"]): document for document in documents}
