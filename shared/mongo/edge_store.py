"""The edge's verbs."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import pymongo
from bson.binary import Binary
from bson.raw_bson import RawBSONDocument
from msgspec.structs import replace
from pymongo.errors import AutoReconnect, BulkWriteError, DuplicateKeyError
from pymongo.read_concern import ReadConcern

from shared.domain.errors import BadRequest, StoreUnavailable, Unreadable
from shared.domain.job import JobView, NewJob, PayloadRef
from shared.domain.store_interface import Accepted, Rejected, SubmitOutcome, VirtualKey
from shared.mongo.connection.client import DUPLICATE_KEY, Database, unavailable
from shared.mongo.documents import codec, payloads
from shared.mongo.keys import USABLE

log = logging.getLogger(__name__)
_BIG_TRANSFER_SECONDS = 30.0
_CLOCK_DOUBT = timedelta(seconds=5)
"""An edge's idea of the database's clock is never wrong by more."""
_NOT_EXPIRED = {"$gt": ["$expires_at", "$$NOW"]}
SECRET_SECONDS = 10.0
"""How long the id secret is believed: an emptied database gets another, and with two a key makes two jobs."""
_Submits = Sequence[tuple[NewJob, PayloadRef | None]]
_Batch = dict[int, RawBSONDocument]  # by the places of their jobs


class MongoEdgeStore:
    """Implements `shared.domain.store_interface.EdgeStore`."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._views = database.jobs.with_options(codec_options=codec.PLAIN_CODEC)
        self._id_secret: bytes | None = None
        self._secret_read_at = 0.0

    def now(self) -> datetime:
        return self._db.now()

    async def ping(self) -> None:
        self._db.now()
        with self._db.bounded("ping"):
            await self._db.client.admin.command("ping")

    async def save_request(self, job: NewJob, again: PayloadRef | None = None) -> PayloadRef:
        ref = again or payloads.request_ref(job)
        owner, expires_at = payloads.Owner(job.id), payloads.request_expiry(job)
        with unavailable("storing the body"), pymongo.timeout(_BIG_TRANSFER_SECONDS):
            await payloads.write(self._db, [payloads.Body(ref, job.content.data, owner, expires_at)])
        return ref

    async def discard_request(self, job_id: UUID, ref: PayloadRef) -> None:
        with self._db.bounded("discarding a body"):
            if not await self._db.jobs.find_one({"_id": job_id, "request.payload": ref.payload_id}, {"_id": True}):
                await payloads.delete(self._db, [ref])

    async def submit(self, jobs: _Submits) -> list[SubmitOutcome]:
        outcomes: list[SubmitOutcome] = [Accepted() for _ in jobs]
        documents: _Batch = {}
        for position, (job, ref) in enumerate(jobs):
            try:
                documents[position] = RawBSONDocument(codec.encode_new(job, ref))
            except BadRequest as error:
                outcomes[position] = Rejected(error)
        duplicates = await self._insert(documents, outcomes)
        if duplicates:
            await self._resolve(duplicates, jobs, documents, outcomes)
        return outcomes

    async def _insert(self, documents: _Batch, outcomes: list[SubmitOutcome]) -> list[int]:
        """Insert and mark failures; return the positions whose id was there already."""
        positions, batch = list(documents), list(documents.values())
        if not batch:
            return []
        with self._db.bounded("storing jobs"):
            try:
                try:
                    await self._db.jobs.insert_many(batch, ordered=False)
                except AutoReconnect:  # the outcome is unknown
                    await self._db.jobs.insert_many(batch, ordered=False)
            except BulkWriteError as error:
                return _map_write_errors(error, positions, outcomes)
        return []

    async def _resolve(
        self, duplicates: list[int], jobs: _Submits, documents: _Batch, outcomes: list[SubmitOutcome]
    ) -> None:
        """Decide about ids that exist, as a majority knows them: our own retry, a repeated submit, or a leftover."""
        known = await self.collect([jobs[position][0].id for position in duplicates])
        leftovers: _Batch = {}
        for position in duplicates:
            job = jobs[position][0]
            view = known.get(job.id)
            if view is None:
                outcomes[position] = Rejected(StoreUnavailable("storing jobs: not confirmed by a majority"))
            elif view.problem:
                outcomes[position] = Rejected(Unreadable(f"job {job.id}: {view.problem}"))
            elif view.expired:
                leftovers[position] = documents[position]
            else:
                outcomes[position] = Accepted(existing=view if job.fingerprint else None)
        if not leftovers:
            return
        ids = [jobs[position][0].id for position in leftovers]
        with self._db.bounded("storing jobs"):
            over = {"expires_at": {"$exists": True}, "$expr": {"$not": [_NOT_EXPIRED]}}
            await self._db.jobs.delete_many({"_id": {"$in": ids}, **over})
        for position in await self._insert(leftovers, outcomes):  # another edge replaced it at the same time
            outcomes[position] = Rejected(StoreUnavailable("storing jobs: the id is being replaced"))

    async def collect(self, ids: Sequence[UUID]) -> dict[UUID, JobView]:
        with self._db.bounded("reading jobs"):
            # One more than can be found: behind a batch that is exactly full the driver asks for another one.
            cursor = self._views.find(codec.with_ids(ids), codec.VIEW_FIELDS, batch_size=len(ids) + 1)
            documents = await cursor.to_list()
        wanted = {job_id.bytes: job_id for job_id in ids}
        found = [(wanted[bytes(document["_id"])], document) for document in documents]
        return await self._dated({job_id: codec.view_or_problem(document, job_id) for job_id, document in found})

    async def confirm(self, job_id: UUID) -> JobView | None:
        linearizable = self._views.with_options(read_concern=ReadConcern("linearizable"))
        with self._db.bounded("confirming a job"):
            document = await linearizable.find_one(codec.with_ids([job_id]), codec.VIEW_FIELDS)
        views = {job_id: codec.view_or_problem(document, job_id)} if document else {}
        return (await self._dated(views)).get(job_id)

    async def _dated(self, views: dict[UUID, JobView]) -> dict[UUID, JobView]:
        """The same, and which have expired. Where that is close the database says it, at a fifth of a read's price."""
        border = self.now() + _CLOCK_DOUBT
        close = [job_id for job_id, view in views.items() if view.expires_at is not None and view.expires_at <= border]
        if not close:
            return views
        lasting = {"_id": {"$in": [codec.binary(job_id) for job_id in close]}, "$expr": _NOT_EXPIRED}
        with self._db.bounded("asking what has expired"):
            found = {bytes(each["_id"]) for each in await self._views.find(lasting, {"_id": True}).to_list()}
        return views | {each: replace(views[each], expired=True) for each in close if each.bytes not in found}

    async def read_payload(self, ref: PayloadRef) -> AsyncIterator[bytes]:
        # A time-out for each chunk: between two of them a slow client may take as long as it likes.
        for number in range(ref.chunks):
            with unavailable("reading a body"), pymongo.timeout(_BIG_TRANSFER_SECONDS):
                chunk = await payloads.read_chunk(self._db, ref, number)
            yield chunk

    async def find_key(self, secret_hash: bytes) -> VirtualKey | None:
        with self._db.bounded("reading a key"):
            document = await self._db.keys.find_one({"hash": Binary(secret_hash), **USABLE})
        try:
            return codec.decode_key(document) if document else None
        except Unreadable as error:  # a key whose list of models cannot be read must open nothing
            log.error("a virtual key cannot be read, it opens nothing: %s", error)
            return None

    async def id_secret(self) -> bytes:
        if self._id_secret is None or time.monotonic() - self._secret_read_at > SECRET_SECONDS:
            self._secret_read_at = (
                time.monotonic()
            )  # set before the read, so that other submits use the known one meanwhile
            self._id_secret = await self._read_id_secret()
        return self._id_secret

    async def _read_id_secret(self) -> bytes:
        with self._db.bounded("reading the id secret"):
            document = await self._db.meta.find_one({"_id": "id_secret"})
            if document is None:
                made = {"$setOnInsert": {"value": Binary(os.urandom(32))}}
                with contextlib.suppress(DuplicateKeyError):  # another edge made it at the same time
                    await self._db.meta.update_one({"_id": "id_secret"}, made, upsert=True)
                document = await self._db.meta.find_one({"_id": "id_secret"})
        if document is None:
            raise StoreUnavailable("the id secret is not known to a majority yet")
        if not isinstance(secret := document.get("value"), bytes):
            raise Unreadable("the secret of ids is no bytes: delete `id_secret` from `meta`, an edge makes a new one")
        return bytes(secret)

    async def full(self) -> frozenset[str]:
        with self._db.bounded("reading what is full"):
            document = await self._db.meta.find_one({"_id": "full", "$expr": {"$gt": ["$until", "$$NOW"]}})
        said = document.get("modalities") if document else None
        return frozenset(each for each in said if isinstance(each, str)) if isinstance(said, list) else frozenset()


def _map_write_errors(error: BulkWriteError, positions: Sequence[int], outcomes: list[SubmitOutcome]) -> list[int]:
    """Give each failed insert its own outcome and return the duplicates."""
    details = error.details or {}
    if details.get("writeConcernErrors"):  # nothing of the batch is confirmed, so nobody is told that it was accepted
        raise StoreUnavailable("storing jobs: not confirmed by a majority")
    duplicates = []
    for failure in details["writeErrors"]:
        position = positions[failure["index"]]
        if failure["code"] == DUPLICATE_KEY:
            duplicates.append(position)
        else:
            outcomes[position] = Rejected(StoreUnavailable(f"storing jobs: error {failure['code']}"))
    return duplicates
