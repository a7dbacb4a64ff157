"""The edge's verbs: insert a batch with an outcome per job, read jobs and payloads, look up keys."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import pymongo
from bson.binary import Binary
from bson.raw_bson import RawBSONDocument
from pymongo.errors import AutoReconnect, BulkWriteError, DuplicateKeyError
from pymongo.read_concern import ReadConcern

from shared.content import Content
from shared.errors import BadRequest, StoreUnavailable
from shared.job import JobView, NewJob, PayloadRef
from shared.mongo import codec, payloads
from shared.mongo.client import Database, unavailable
from shared.store import Accepted, Rejected, SubmitOutcome, VirtualKey

_DUPLICATE_KEY = 11000
_PAYLOAD_MARGIN = timedelta(hours=1)
"""A request's chunks outlive the job's deadline by this much, for the last attempt under way."""
_BIG_TRANSFER_SECONDS = 30.0
SECRET_SECONDS = 10.0
"""How long the id secret is believed. In a database that was emptied another edge makes a new one, and two edges with
different secrets would make two jobs of one Idempotency-Key."""


class EdgeVerbs:
    """Implements `shared.store.EdgeStore`."""

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

    async def save_request(self, content: Content, deadline_at: datetime) -> PayloadRef:
        with unavailable("storing the body"), pymongo.timeout(_BIG_TRANSFER_SECONDS):
            return await payloads.write(self._db, content.data, deadline_at + _PAYLOAD_MARGIN)

    async def submit(self, jobs: Sequence[tuple[NewJob, PayloadRef | None]]) -> list[SubmitOutcome]:
        outcomes: list[SubmitOutcome] = [Accepted() for _ in jobs]
        documents: dict[int, RawBSONDocument] = {}
        for position, (job, ref) in enumerate(jobs):
            try:
                documents[position] = RawBSONDocument(codec.encode_new(job, ref))
            except BadRequest as error:
                outcomes[position] = Rejected(error)
        duplicates = await self._insert(documents, outcomes)
        if duplicates:
            await self._resolve(duplicates, jobs, documents, outcomes)
        return outcomes

    async def _insert(self, documents: dict[int, RawBSONDocument], outcomes: list[SubmitOutcome]) -> list[int]:
        """Insert and mark failures; return the positions whose id was there already.

        When the connection breaks the outcome is unknown: the same ids are sent once more.
        """
        positions = list(documents)
        batch = [documents[position] for position in positions]
        if not batch:
            return []
        with self._db.bounded("storing jobs"):
            try:
                try:
                    await self._db.jobs.insert_many(batch, ordered=False)
                except AutoReconnect:
                    await self._db.jobs.insert_many(batch, ordered=False)
            except BulkWriteError as error:
                return _blame(error, positions, outcomes)
        return []

    async def _resolve(
        self,
        duplicates: Sequence[int],
        jobs: Sequence[tuple[NewJob, PayloadRef | None]],
        documents: dict[int, RawBSONDocument],
        outcomes: list[SubmitOutcome],
    ) -> None:
        """Decide about ids that exist: our own retry, an idempotent submit, or a leftover whose time is up.

        A majority read decides, so an insert that only a minority knows is not taken for stored.
        """
        known = await self.collect([jobs[position][0].id for position in duplicates])
        leftovers: dict[int, RawBSONDocument] = {}
        for position in duplicates:
            job = jobs[position][0]
            view = known.get(job.id)
            if view is None:
                outcomes[position] = Rejected(StoreUnavailable("storing jobs: not confirmed by a majority"))
            elif view.expires_at is not None and view.expires_at <= self.now():
                leftovers[position] = documents[position]
            else:
                outcomes[position] = Accepted(existing=view if job.fingerprint else None)
        if leftovers:
            await self._replace(leftovers, jobs, outcomes)

    async def _replace(
        self,
        leftovers: dict[int, RawBSONDocument],
        jobs: Sequence[tuple[NewJob, PayloadRef | None]],
        outcomes: list[SubmitOutcome],
    ) -> None:
        """Remove expired jobs that the TTL pass has not reached yet and insert their successors."""
        ids = [jobs[position][0].id for position in leftovers]
        with self._db.bounded("storing jobs"):
            await self._db.jobs.delete_many({"_id": {"$in": ids}, "expires_at": {"$lte": self.now()}})
        for position in await self._insert(leftovers, outcomes):
            # Somebody else replaced it in this very moment.
            outcomes[position] = Rejected(StoreUnavailable("storing jobs: the id is being replaced"))

    async def collect(self, ids: Sequence[UUID]) -> dict[UUID, JobView]:
        with self._db.bounded("reading jobs"):
            # One document more than there can be: a batch that is exactly full would be asked for its rest.
            cursor = self._views.find(codec.with_ids(ids), codec.VIEW_FIELDS, batch_size=len(ids) + 1)
            documents = await cursor.to_list()
        wanted = {job_id.bytes: job_id for job_id in ids}
        found = [(wanted[bytes(document["_id"])], document) for document in documents]
        return {job_id: codec.decode_view(document, job_id) for job_id, document in found}

    async def confirm(self, job_id: UUID) -> JobView | None:
        linearizable = self._views.with_options(read_concern=ReadConcern("linearizable"))
        with self._db.bounded("confirming a job"):
            document = await linearizable.find_one(codec.with_ids([job_id]), codec.VIEW_FIELDS)
        return codec.decode_view(document, job_id) if document else None

    async def read_payload(self, ref: PayloadRef) -> AsyncIterator[bytes]:
        # Each chunk has a time-out of its own: between two of them a slow client may take as long as it likes.
        for number in range(ref.chunks):
            with unavailable("reading a body"), pymongo.timeout(_BIG_TRANSFER_SECONDS):
                chunk = await payloads.read_chunk(self._db, ref, number)
            yield chunk

    async def find_key(self, secret_hash: bytes) -> VirtualKey | None:
        with self._db.bounded("reading a key"):
            document = await self._db.keys.find_one({"hash": Binary(secret_hash), "revoked_at": None})
        return codec.decode_key(document) if document else None

    async def id_secret(self) -> bytes:
        if self._id_secret is None or time.monotonic() - self._secret_read_at > SECRET_SECONDS:
            self._secret_read_at = time.monotonic()  # meanwhile all others go on with the one that is known
            self._id_secret = await self._read_id_secret()
        return self._id_secret

    async def _read_id_secret(self) -> bytes:
        with self._db.bounded("reading the id secret"):
            document = await self._db.meta.find_one({"_id": "id_secret"})
            if document is None:
                try:
                    await self._db.meta.update_one(
                        {"_id": "id_secret"}, {"$setOnInsert": {"value": Binary(os.urandom(32))}}, upsert=True
                    )
                except DuplicateKeyError:
                    await asyncio.sleep(0)  # another edge made it in this moment
                document = await self._db.meta.find_one({"_id": "id_secret"})
        if document is None:
            raise StoreUnavailable("the id secret is not known to a majority yet")
        return bytes(document["value"])

    async def full(self) -> frozenset[str]:
        with self._db.bounded("reading what is full"):
            document = await self._db.meta.find_one({"_id": "full", "until": {"$gt": self._db.now()}})
        return frozenset(document["modalities"]) if document else frozenset()


def _blame(error: BulkWriteError, positions: Sequence[int], outcomes: list[SubmitOutcome]) -> list[int]:
    """Give each failed insert its own outcome and return the duplicates.

    A write concern error leaves every job of the batch unconfirmed, so nobody is told that he was accepted.
    """
    details = error.details or {}
    if details.get("writeConcernErrors"):
        raise StoreUnavailable("storing jobs: not confirmed by a majority")
    duplicates = []
    for failure in details["writeErrors"]:
        position = positions[failure["index"]]
        if failure["code"] == _DUPLICATE_KEY:
            duplicates.append(position)
        else:
            outcomes[position] = Rejected(StoreUnavailable(f"storing jobs: error {failure['code']}"))
    return duplicates
