"""The fleet's verbs: claim, find what is due, renew, record, pause."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pymongo
from pymongo import ReturnDocument, UpdateMany
from pymongo.errors import BulkWriteError, WriteError

from shared.errors import StoreUnavailable
from shared.job import DOCUMENT_VERSION, ClaimedJob, DueJob, Finish, PayloadRef, Record, Release, Status
from shared.mongo import codec, moves, payloads
from shared.mongo.client import Database, Document, unavailable
from shared.settings import Settings
from shared.store import Pause

_PAYLOAD_MARGIN = timedelta(hours=1)
"""A result's chunks outlive the job by this much, for the poll that streams them when the time is up."""
_BIG_TRANSFER_SECONDS = 60.0
INLINE_RESULT_BYTES = 32 * 1024
_CLAIMED_SINGLY = 2
"""Up to so many jobs a claim of each costs no more than one claim of all and the reading of what it took."""


class FleetVerbs:
    """Implements `shared.store.FleetStore`."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._db = database
        self._settings = settings
        self._claims = database.jobs.with_options(codec_options=codec.PLAIN_CODEC)

    def now(self) -> datetime:
        return self._db.now()

    async def claim(
        self, ids: Sequence[UUID], *, lease: UUID, worker: str, suspects: bool, source: str = ""
    ) -> list[ClaimedJob]:
        seconds, crashes = self._settings.lease_seconds, self._settings.max_crashes

        def move_of(some: Sequence[UUID]) -> moves.Move:
            return moves.claim(some, lease, worker, seconds, crashes, suspects=suspects, source=source)

        try:
            if len(ids) <= _CLAIMED_SINGLY:
                return _claimed(await self._claim_singly([move_of([each]) for each in ids]), ids, lease)
            move = move_of(ids)
            with self._db.bounded("claiming"):
                claimed = (await self._db.jobs.update_many(move.filter, move.update)).matched_count
        except StoreUnavailable:
            claimed = len(ids)  # unknown: what we hold is what we read
        if claimed == 0:
            return []
        with self._db.bounded("reading claimed jobs"):
            asked = [codec.binary(each) for each in ids]
            held = {"_id": {"$in": asked}, "lease.id": codec.binary(lease), "status": Status.PROCESSING.value}
            documents = await self._claims.find(held, codec.CLAIM_FIELDS).to_list()
        return _claimed(documents, ids, lease)

    async def _claim_singly(self, claims: Sequence[moves.Move]) -> list[Document]:
        """One round trip instead of two: lonely jobs are waited for by somebody."""
        with self._db.bounded("claiming"):
            claiming = [
                self._claims.find_one_and_update(
                    move.filter, move.update, codec.CLAIM_FIELDS, return_document=ReturnDocument.AFTER
                )
                for move in claims
            ]
            if len(claiming) == 1:
                found = [await claiming[0]]
            else:
                # All have ended before an error is raised: what was claimed is read after it.
                ended = await asyncio.gather(*claiming, return_exceptions=True)
                found = [_found(each) for each in ended]
        return [document for document in found if document]

    async def due(self, modalities: Sequence[str], *, limit: int, takeover_after: float) -> list[DueJob]:
        now = self._db.now()

        def overdue(status: Status, grace: float) -> dict[str, Any]:
            return {
                "modality": {"$in": list(modalities)},
                "v": {"$lte": DOCUMENT_VERSION},  # what a newer worker must do shall not fill our sweep
                "status": status.value,
                "wake_at": {"$lte": now - timedelta(seconds=grace)},
                "deadline_at": {"$gt": now},
            }

        kinds = [overdue(Status.PENDING, self._settings.sweep_grace_seconds)]
        if math.isfinite(takeover_after):
            kinds.append(overdue(Status.PROCESSING, takeover_after))
        # The first branch fills the limit first; in random order neither kind starves the other.
        query = {"$or": random.sample(kinds, len(kinds))}
        found = await self._find_due(query, 0, limit)
        if len(found) == limit:
            # Sweepers that all start at the head would claim the same jobs; an offset spreads them.
            found = await self._find_due(query, random.randrange(4 * limit), limit) or found
        return found

    async def _find_due(self, query: dict[str, Any], skip: int, limit: int) -> list[DueJob]:
        with self._db.bounded("looking for due jobs"):
            cursor = self._db.jobs.find(query, {"crashes": True, "status": True}).hint("due").skip(skip).limit(limit)
            documents = await cursor.to_list()
        border = moves.suspect_from(self._settings.max_crashes)
        return [
            DueJob(each["_id"], suspect=each.get("crashes", 0) + (each["status"] == Status.PROCESSING) >= border)
            for each in documents
        ]

    async def load(self, ref: PayloadRef) -> bytes:
        with unavailable("reading a body"), pymongo.timeout(_BIG_TRANSFER_SECONDS):
            return await payloads.read_all(self._db, ref)

    async def renew(self, held: Mapping[UUID, UUID]) -> set[UUID]:
        leases = list(set(held.values()))
        move = moves.renew(list(held), leases, self._settings.lease_seconds)
        with self._db.bounded("renewing leases"):
            result = await self._db.jobs.update_many(move.filter, move.update)
            if result.matched_count == len(held):
                return set()
            cursor = self._db.jobs.find(move.filter, {"_id": True})
            return set(held) - {document["_id"] for document in await cursor.to_list()}

    async def record(self, records: Sequence[Record]) -> list[bool | Exception]:
        statements = await self._statements(records)
        try:
            with self._db.bounded("recording outcomes"):
                matched = await self._changed(statements)
        except StoreUnavailable as error:
            if len(records) == 1 or not _about_one_job(error):
                raise
            return await self._one_by_one(records)
        if matched == len(records):
            return [True] * len(records)
        return await self._written(records)

    async def _changed(self, statements: Sequence[moves.Move]) -> int:
        """How many jobs they matched. One alone needs none of what the library does for many."""
        if len(statements) == 1:
            return (await self._db.jobs.update_many(statements[0].filter, statements[0].update)).matched_count
        many = [UpdateMany(move.filter, move.update) for move in statements]
        return (await self._db.jobs.bulk_write(many, ordered=False)).matched_count

    async def _one_by_one(self, records: Sequence[Record]) -> list[bool | Exception]:
        """A batch again that the database refused for the sake of any of its jobs; the others are not to suffer."""
        outcomes: list[bool | Exception] = []
        for record in records:
            try:
                outcomes += await self.record([record])
            except StoreUnavailable as error:
                if not _about_one_job(error):
                    raise
                outcomes.append(error)
        return outcomes

    async def _statements(self, records: Sequence[Record]) -> list[moves.Move]:
        """One for each way to leave a claim."""
        released = [record for record in records if isinstance(record, Release)]
        ended: dict[Status, list[Finish]] = {}
        for record in records:
            if isinstance(record, Finish):
                ended.setdefault(record.status, []).append(record)
        statements = [moves.release(released)] if released else []
        for finished in ended.values():
            statements.append(moves.finish(finished, [await self._stored_body(each) for each in finished]))
        return statements

    async def _stored_body(self, record: Finish) -> Document:
        body: bytes | PayloadRef = record.body
        if len(record.body) > INLINE_RESULT_BYTES:
            kept_until = self._db.now() + timedelta(seconds=record.result_ttl) + _PAYLOAD_MARGIN
            with unavailable("storing a result"), pymongo.timeout(_BIG_TRANSFER_SECONDS):
                body = await payloads.write(self._db, record.body, kept_until)
        return codec.encode_body(body)

    async def _written(self, records: Sequence[Record]) -> list[bool | Exception]:
        """Tell "mine, written before" from "lost" by the lease that the job carries now."""
        with self._db.bounded("reading outcomes"):
            ids = [record.job_id for record in records]
            cursor = self._db.jobs.find({"_id": {"$in": ids}}, {"lease.id": True, "status": True})
            stored = {document["_id"]: document for document in await cursor.to_list()}

        def ours(record: Record) -> bool:
            document = stored.get(record.job_id)
            if document is None or document.get("lease", {}).get("id") != record.lease:
                return False
            return bool(document["status"] != Status.PROCESSING.value)

        return [ours(record) for record in records]

    async def pause(self, channel: str, seconds: float) -> None:
        until = {"$max": ["$until", {"$add": ["$$NOW", round(seconds * 1000)]}]}
        with self._db.bounded("pausing a provider"):
            await self._db.pauses.update_one({"_id": channel}, [{"$set": {"until": until}}], upsert=True)

    async def pauses(self) -> list[Pause]:
        now = self._db.now()
        with self._db.bounded("reading pauses"):
            documents = await self._db.pauses.find({"until": {"$gt": now}}).to_list()
        return [Pause(each["_id"], (each["until"] - now).total_seconds()) for each in documents]


def _claimed(documents: Sequence[Document], asked: Sequence[UUID], lease: UUID) -> list[ClaimedJob]:
    ids = {job_id.bytes: job_id for job_id in asked}
    return [codec.decode_claimed(document, ids[bytes(document["_id"])], lease) for document in documents]


def _found(ended: Document | BaseException | None) -> Document | None:
    if isinstance(ended, BaseException):
        raise ended
    return ended


def _about_one_job(error: StoreUnavailable) -> bool:
    """Whether the database refused to change some document. A missing majority concerns the whole batch."""
    cause = error.__cause__
    if isinstance(cause, BulkWriteError):
        details = cause.details or {}
        return bool(details.get("writeErrors")) and not details.get("writeConcernErrors")
    return isinstance(cause, WriteError)
