"""What workers ask of the store."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import pymongo
from pymongo import ReturnDocument, UpdateMany

from shared.domain.errors import StoreUnavailable, Unreadable
from shared.domain.job import ClaimCandidate, ClaimedJob, Finish, PayloadRef, Record, Release, Status
from shared.domain.store_interface import INLINE_RESULT_BYTES, Pause
from shared.mongo.connection.client import Database, Document, unavailable
from shared.mongo.documents import claim_rules, codec, payloads, transitions
from shared.mongo.documents.layout import StoredPause, checked
from shared.mongo.documents.unreadable import SetAside, about_one_job, perhaps_about_one_job, sorted_out
from shared.settings.table import Settings

_BIG_TRANSFER_SECONDS = 60.0
_ASK_AGAIN_SECONDS = 0.5
_CLAIMED_SINGLY = 2
"""Up to so many jobs a claim of each costs no more than a claim of all and a read."""
_DUE_FIELDS = {"modality": True, "status": True, "crashes": True, "lease.began": True}
_SPREAD = 4
"""Sweepers that all start at the head would claim the same jobs: each begins within this many times what it wants."""
_MAX_LINES = 20  # of the log
_Line = tuple[str, str]
"""Modality and state: jobs that wait together, a place in the index. No line hides another."""
log = logging.getLogger(__name__)


def shares(limit: int, heads: Sequence[int], few: int) -> list[int]:
    """How many to take of each line, `limit` in all: of one with less than `few` all, of the others the rest.

    `heads` says how many each line had when `few` were asked for, with few x lines >= limit.
    """
    deep = [place for place, head in enumerate(heads) if head >= few]
    each, over = divmod(limit - sum(head for head in heads if head < few), len(deep)) if deep else (0, 0)
    taken = list(heads)
    for number, place in enumerate(deep):
        taken[place] = each + (number < over)
    return taken


class MongoWorkerStore:
    """Implements `shared.domain.store_interface.WorkerStore`."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._db = database
        self._settings = settings
        self._plain = database.jobs.with_options(codec_options=codec.PLAIN_CODEC)
        self._aside = SetAside(database)
        self._odd_pauses = set[str]()
        """Those that were logged."""

    def now(self) -> datetime:
        return self._db.now()

    async def claim(
        self, ids: Sequence[UUID], *, lease: UUID, worker: str, suspects: bool, source: str = ""
    ) -> list[ClaimedJob]:
        seconds, crashes = self._settings.lease_seconds, self._settings.max_crashes

        def move_of(some: Sequence[UUID]) -> transitions.Transition:
            return transitions.claim(some, lease, worker, seconds, crashes, suspects=suspects, source=source)

        try:
            if len(ids) <= _CLAIMED_SINGLY:
                return await self._readable(await self._claim_singly([move_of([each]) for each in ids]), ids, lease)
            transition = move_of(ids)
            with self._db.bounded("claiming"):
                update = await self._db.jobs.update_many(transition.filter, transition.update, hint="_id_")
            return await self._read_claimed(ids, lease) if update.matched_count else []
        except StoreUnavailable as error:
            if perhaps_about_one_job(error):
                with contextlib.suppress(StoreUnavailable):  # an error here must not fail the other jobs of the claim
                    await self._aside.refused(ids)
            return await self._claimed_after_all(ids, lease, error)

    async def _read_claimed(self, ids: Sequence[UUID], lease: UUID) -> list[ClaimedJob]:
        with self._db.bounded("reading claimed jobs"):
            asked = [codec.binary(each) for each in ids]
            held = {"_id": {"$in": asked}, "lease.id": codec.binary(lease), "status": Status.PROCESSING.value}
            documents = await self._plain.find(held, codec.CLAIM_FIELDS).to_list()
        return await self._readable(documents, ids, lease)

    async def _readable(self, documents: Sequence[Document], asked: Sequence[UUID], lease: UUID) -> list[ClaimedJob]:
        """What was claimed. Of what cannot be read the id and the lease are known, so it is failed at once."""
        ids = {job_id.bytes: job_id for job_id in asked}
        claimed, problems = sorted_out(
            documents, lambda each: codec.decode_claimed(each, ids[bytes(each["_id"])], lease)
        )
        with contextlib.suppress(StoreUnavailable):  # its lease then ends, and the next claim sets it aside
            await self._aside.jobs(problems, lease)
        return claimed

    async def _claimed_after_all(self, ids: Sequence[UUID], lease: UUID, error: StoreUnavailable) -> list[ClaimedJob]:
        """What a claim took whose answer did not come. Its lease begins anew: one that runs out counts as a crash."""
        give_up = time.monotonic() + self._settings.lease_seconds
        transition = transitions.renew(ids, [lease], self._settings.lease_seconds)
        while True:
            try:
                with self._db.bounded("asking what was claimed"):
                    claimed = (await self._db.jobs.update_many(transition.filter, transition.update)).matched_count
                return await self._read_claimed(ids, lease) if claimed else []
            except StoreUnavailable:
                if time.monotonic() >= give_up:
                    raise error from None
            await asyncio.sleep(_ASK_AGAIN_SECONDS * random.uniform(0.5, 1.0))

    async def _claim_singly(self, claims: Sequence[transitions.Transition]) -> list[Document]:
        """One round trip instead of two: lonely jobs are waited for by somebody."""
        with self._db.bounded("claiming"):
            claiming = [
                self._plain.find_one_and_update(
                    move.filter, move.update, codec.CLAIM_FIELDS, return_document=ReturnDocument.AFTER, hint="_id_"
                )
                for move in claims
            ]
            if len(claiming) == 1:
                return [document] if (document := await claiming[0]) else []
            # All have ended before an error is raised: what was claimed is read after it.
            ended = await asyncio.gather(*claiming, return_exceptions=True)
            for each in ended:
                if isinstance(each, BaseException):
                    raise each
        return [each for each in ended if each and not isinstance(each, BaseException)]

    async def due(
        self, modalities: Sequence[str], *, limit: int, takeover_after: float, suspects: bool = True
    ) -> list[ClaimCandidate]:
        filters = self._due_filters(modalities, takeover_after, suspects=suspects)
        lines = random.sample(list(filters), len(filters))
        few = -(-limit // len(lines))
        heads = await self._due_read(filters, dict.fromkeys(lines, (0, few)))
        wanted = dict(zip(lines, shares(limit, [len(heads[line]) for line in lines], few), strict=True))
        deep = [line for line in lines if wanted[line] and len(heads[line]) == few]
        asks = {line: (random.randrange(_SPREAD * wanted[line]), wanted[line]) for line in deep}
        somewhere = await self._due_read(filters, asks)
        # A line that ended too soon is read again from its head.
        near_end = [line for line in deep if len(somewhere[line]) < wanted[line]]
        somewhere |= await self._due_read(filters, {line: (0, wanted[line]) for line in near_end})
        found = [each for line in lines for each in somewhere.get(line, heads[line])[: wanted[line]]]
        border = claim_rules.suspect_from(self._settings.max_crashes)
        due, problems = sorted_out(found, lambda each: codec.decode_due(each, border))
        await self._aside.jobs(problems)
        return due

    def _due_filters(
        self, modalities: Sequence[str], takeover_after: float, *, suspects: bool
    ) -> dict[_Line, Document]:
        now, most = self._db.now(), self._settings.max_crashes
        graces = {Status.PENDING: self._settings.sweep_grace_seconds}
        if math.isfinite(takeover_after):
            graces[Status.PROCESSING] = takeover_after
        due_by = {status: now - timedelta(seconds=grace) for status, grace in graces.items()}
        return {
            (modality, status.value): claim_rules.claimable_query(modality, status, by, now, most, suspects=suspects)
            for modality in modalities
            for status, by in due_by.items()
        }

    async def _due_read(
        self, filters: dict[_Line, Document], asks: Mapping[_Line, tuple[int, int]]
    ) -> dict[_Line, list[Document]]:
        """Of each line after so many so many, in one round trip."""
        found: dict[_Line, list[Document]] = {line: [] for line in asks}
        if not asks:
            return found
        first, *others = [_sweep(filters[line], *places) for line, places in asks.items()]
        together = [*first, *({"$unionWith": {"coll": "jobs", "pipeline": each}} for each in others)]
        with self._db.bounded("looking for due jobs"):
            documents = await (await self._plain.aggregate(together, hint="due")).to_list()
        for document in documents:
            found[document["modality"], document["status"]].append(document)
        return found

    async def load(self, ref: PayloadRef) -> bytes:
        with unavailable("reading a body"), pymongo.timeout(_BIG_TRANSFER_SECONDS):
            return await payloads.read_all(self._db, ref)

    async def renew(self, held: Mapping[UUID, UUID], began: Collection[UUID]) -> set[UUID]:
        transition = transitions.renew(list(held), list(set(held.values())), self._settings.lease_seconds, began)
        with self._db.bounded("renewing leases"):
            result = await self._db.jobs.update_many(transition.filter, transition.update)
            if result.matched_count == len(held):
                return set()
            found = await self._db.jobs.find(transition.filter, {"_id": True}).to_list()
            return set(held) - {document["_id"] for document in found}

    async def record(self, records: Sequence[Record]) -> list[bool | Exception]:
        try:
            statements = await self._statements(records)
            with self._db.bounded("recording outcomes"):
                matched = await self._changed(statements)
        except StoreUnavailable as error:
            if not about_one_job(error):
                raise
            if len(records) == 1:
                return [False if await self._aside.refused([records[0].job_id], records[0].lease) else error]
            return [(await self.record([record]))[0] for record in records]  # the others are not to suffer
        written = [True] * len(records) if matched == len(records) else await self._written(records)
        await self._drop_bodies(records, written)
        return [*written]

    async def _drop_bodies(self, records: Sequence[Record], written: Sequence[bool]) -> None:
        """Delete what nothing points to from now on. What fails here is left to the reapers."""
        gone = [ref for record, ours in zip(records, written, strict=True) if (ref := _unowned(record, ours))]
        if gone:
            with contextlib.suppress(StoreUnavailable), self._db.bounded("deleting bodies"), pymongo.timeout(1.0):
                await payloads.delete(self._db, gone)

    async def _changed(self, statements: Sequence[transitions.Transition]) -> int:
        """How many jobs they matched. One alone needs none of what the library does for many."""
        if len(statements) == 1:
            return (await self._db.jobs.update_many(statements[0].filter, statements[0].update)).matched_count
        many = [UpdateMany(transition.filter, transition.update) for transition in statements]
        return (await self._db.jobs.bulk_write(many, ordered=False)).matched_count

    async def _statements(self, records: Sequence[Record]) -> list[transitions.Transition]:
        released = [record for record in records if isinstance(record, Release)]
        ended: dict[Status, list[Finish]] = {}
        for record in records:
            if isinstance(record, Finish):
                ended.setdefault(record.status, []).append(record)
        finishes = [transitions.finish(each, await self._stored_bodies(each)) for each in ended.values()]
        return [transitions.release(released), *finishes] if released else finishes

    async def _stored_bodies(self, records: Sequence[Finish]) -> list[Document]:
        """The body of each record as its job will hold it. Large ones are stored first, all together."""
        large = {place: payloads.result(each, self._db.now()) for place, each in enumerate(records) if _is_large(each)}
        if large:
            with unavailable("storing results"), pymongo.timeout(_BIG_TRANSFER_SECONDS):
                await payloads.write(self._db, list(large.values()))
        return [codec.encode_body(large[p].ref if p in large else each.body) for p, each in enumerate(records)]

    async def _written(self, records: Sequence[Record]) -> list[bool]:
        """Tell "mine, written before" from "lost" by the lease that the job carries now."""
        with self._db.bounded("reading outcomes"):
            ids = [record.job_id for record in records]
            cursor = self._plain.find(codec.with_ids(ids), {"lease.id": True, "status": True})
            stored = {bytes(document["_id"]): document for document in await cursor.to_list()}

        def ours(record: Record) -> bool:
            document = stored.get(record.job_id.bytes, {})
            lease = document.get("lease")
            if not isinstance(lease, dict) or lease.get("id") != codec.binary(record.lease):
                return False
            return bool(document.get("status") == (record.status if isinstance(record, Finish) else Status.PENDING))

        return [ours(record) for record in records]

    async def pause(self, channel: str, seconds: float) -> None:
        # A value that sorts above all dates would win over the new date, and such a pause is ignored.
        former = {"$cond": [{"$eq": [{"$type": "$until"}, "date"]}, "$until", None]}
        until = {"$max": [former, {"$add": ["$$NOW", round(seconds * 1000)]}]}
        with self._db.bounded("pausing a channel"):
            await self._db.pauses.update_one({"_id": channel}, [{"$set": {"until": until}}], upsert=True)

    async def pauses(self) -> list[Pause]:
        now = self._db.now()
        with self._db.bounded("reading pauses"):
            documents = await self._db.pauses.find({"until": {"$gt": now}}).to_list()
        readable = [pause for each in documents if (pause := self._readable_pause(each))]
        return [Pause(pause.channel, (pause.until - now).total_seconds()) for pause in readable]

    async def resume(self, channels: Collection[str]) -> None:
        with self._db.bounded("ending pauses"):
            await self._db.pauses.delete_many({"_id": {"$in": list(channels)}})

    def _readable_pause(self, document: Document) -> StoredPause | None:
        """None for one that cannot be read, of which the log says so once."""
        try:
            return checked(document, StoredPause)
        except Unreadable as error:
            name = repr(document["_id"])[:40]
            if name not in self._odd_pauses and len(self._odd_pauses) < _MAX_LINES:
                self._odd_pauses.add(name)
                log.warning("pause %s cannot be read, it pauses nothing: %s", name, error)
            return None


def _unowned(record: Record, ours: bool) -> PayloadRef | None:
    """The body that nothing points to after a record: the request of a completed job, the result of a lost one."""
    if isinstance(record, Release):
        return None
    if ours:
        return record.request if record.status is Status.COMPLETED else None
    return payloads.result_ref(record) if _is_large(record) else None


def _is_large(record: Finish) -> bool:
    return len(record.body) > INLINE_RESULT_BYTES


def _sweep(query: Document, skip: int, limit: int) -> list[Document]:
    skipped = [{"$skip": skip}] if skip else []
    # The hint of an aggregate does not reach its unions: without this order another index may look as good.
    return [{"$match": query}, {"$sort": {"wake_at": 1}}, *skipped, {"$limit": limit}, {"$project": _DUE_FIELDS}]
