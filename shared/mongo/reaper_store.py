"""The reaper's verbs."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo import UpdateOne

from shared.domain.catalogue import MODALITIES
from shared.domain.errors import StoreUnavailable
from shared.domain.job import LIVE, ExpiredJob, ExpiryResult, Status
from shared.domain.store_interface import FULL_SECONDS, UNOWNED_SECONDS, Backlog, OrphansRemoved
from shared.mongo.connection.client import Database, Document
from shared.mongo.documents import claim_rules, codec, transitions
from shared.mongo.documents.payloads import OrphanSearch
from shared.mongo.documents.unreadable import SetAside, sorted_out
from shared.settings.table import Settings

log = logging.getLogger(__name__)
COUNT_CAP = 100_000
_CHEAP_COUNT = 20_000
_LOOKED_AT = 100
_EXPIRE_SECONDS = 10.0
"""So long overdue jobs are ended in a row; then the counts have their turn."""
_EPOCH = datetime.fromtimestamp(0, UTC)
_Explain = Callable[[ExpiredJob], ExpiryResult]


class MongoReaperStore:
    """Implements `shared.domain.store_interface.ReaperStore`."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._db = database
        self._settings = settings
        self._plain = database.jobs.with_options(codec_options=codec.PLAIN_CODEC)
        self._aside = SetAside(database)
        self._orphans = OrphanSearch(database)

    async def remove_orphans(self, limit: int) -> OrphansRemoved:
        return OrphansRemoved(*await self._orphans.remove(limit, timedelta(seconds=UNOWNED_SECONDS)))

    async def expire(self, limit: int, explain: _Explain) -> dict[str, int]:
        most = self._settings.max_crashes
        counts: Counter[str] = Counter()
        give_up = time.monotonic() + _EXPIRE_SECONDS
        queries: dict[str, Callable[[datetime], Document]] = {
            "deadline": claim_rules.late_query,
            "due": lambda now: claim_rules.out_of_crashes_query(now, most, MODALITIES),
        }
        try:
            for index, query in queries.items():
                more = True
                while more and time.monotonic() < give_up:
                    now = self._db.now()
                    ended, more = await self._end_some(query(now), index, limit, now, explain)
                    counts += ended
            await self._aside.strays()
        except StoreUnavailable as error:
            if not counts:
                raise
            log.warning("some overdue jobs are left to the next pass: %s", error)
        return dict(counts)

    async def _end_some(
        self, query: Document, index: str, limit: int, now: datetime, explain: _Explain
    ) -> tuple[Counter[str], bool]:
        """End up to `limit` jobs; whether there may be more. Without any change there is nothing to go on with."""
        with self._db.bounded("looking for overdue jobs"):
            documents = await self._plain.find(query, {"request": False}).hint(index).limit(limit).to_list()
        found, problems = sorted_out(documents, lambda each: (codec.decode_overdue(each, now), each["result_ttl"]))
        set_aside = await self._aside.jobs(problems)
        ended = await self._end(found, explain)
        return ended, len(documents) == limit and ended.total() + set_aside > 0

    async def _end(self, found: list[tuple[ExpiredJob, int]], explain: _Explain) -> Counter[str]:
        """End each for its reason; a job that was claimed or finished meanwhile does not match."""
        updates: dict[str, list[UpdateOne]] = {}
        for job, result_ttl in found:
            ending = explain(job)
            body = codec.encode_body(ending.error)
            transition = transitions.expire(job.id, ending, self._settings.max_crashes, result_ttl, body)
            updates.setdefault(ending.reason, []).append(UpdateOne(transition.filter, transition.update))
        counts: Counter[str] = Counter()
        for reason, batch in updates.items():
            with self._db.bounded("ending overdue jobs"):
                counts[reason] += (await self._db.jobs.bulk_write(batch, ordered=False)).modified_count
        return counts

    async def backlog(self) -> list[Backlog]:
        now = self._db.now()
        found = await self._group(now)
        pairs = [(modality, status) for modality in MODALITIES for status in LIVE]
        if sum(each.count for each in found.values()) >= _CHEAP_COUNT:
            counted = [await self._count(*pair, now) for pair in pairs]
        else:
            counted = [found.get(pair, Backlog(*pair, 0, False, 0.0)) for pair in pairs]
        return [
            replace(each, waits=await self._longest_wait(each.modality, now))
            if each.status == Status.PENDING.value and each.count
            else each
            for each in counted
        ]

    async def _longest_wait(self, modality: str, now: datetime) -> float:
        """Seconds since the acceptance of the oldest of a few, due for longest or put off until soonest: no index is in
        order of acceptance, for it would cost each submit, but jobs of an age are together."""
        pending = _live(modality, Status.PENDING.value)
        accepted: list[datetime] = []
        for query in (pending, pending | {"wake_at": {"$gt": now}}):
            with self._db.bounded("finding who waits longest"):
                found = self._db.jobs.find(query, {"_id": False, "created_at": True}).hint("due").sort("wake_at", 1)
                documents = await found.limit(_LOOKED_AT).to_list()
            accepted += [each["created_at"] for each in documents if isinstance(each.get("created_at"), datetime)]
        return _age(min(accepted), now) if accepted else 0.0

    async def _group(self, now: datetime) -> dict[tuple[str, str], Backlog]:
        """Count everything in one pass over the index, up to a cheap bound."""
        by = {"modality": "$modality", "status": "$status"}
        pipeline: list[dict[str, Any]] = [
            {"$match": {"modality": {"$in": list(MODALITIES)}, "wake_at": {"$gt": _EPOCH}}},
            {"$limit": _CHEAP_COUNT},
            {"$project": {"_id": 0, "modality": 1, "status": 1, "wake_at": 1}},
            {"$group": {"_id": by, "count": {"$sum": 1}, "oldest": {"$min": "$wake_at"}}},
        ]
        with self._db.bounded("counting"):
            groups = await (await self._db.jobs.aggregate(pipeline, hint="due")).to_list()
        pairs = {(each["_id"]["modality"], str(each["_id"].get("status"))): each for each in groups}
        return {pair: Backlog(*pair, each["count"], False, _age(each["oldest"], now)) for pair, each in pairs.items()}

    async def _count(self, modality: str, status: str, now: datetime) -> Backlog:
        """Count one pair up to the cap, and find who has been due for longest."""
        query = _live(modality, status)
        with self._db.bounded("counting"):
            count = await self._db.jobs.count_documents(query, hint="due", limit=COUNT_CAP)
            first = await self._db.jobs.find(query, {"wake_at": True}).hint("due").sort("wake_at", 1).limit(1).to_list()
        oldest = _age(first[0]["wake_at"], now) if first else 0.0
        return Backlog(modality, status, count, count >= COUNT_CAP, oldest)

    async def at_least(self, modality: str, count: int) -> bool:
        with self._db.bounded("counting a long backlog"):
            return await self._db.jobs.count_documents(_live(modality, "pending"), hint="due", limit=count) >= count

    async def publish_backpressure(self, modalities: Collection[str]) -> None:
        said = {"modalities": {"$literal": sorted(modalities)}, "until": {"$add": ["$$NOW", FULL_SECONDS * 1000]}}
        with self._db.bounded("saying what is full"):
            await self._db.meta.update_one({"_id": "full"}, [{"$set": said}], upsert=True)


def _live(modality: str, status: str) -> dict[str, Any]:
    """Jobs in one state, so asked for that the index of live jobs alone answers."""
    return {"modality": modality, "status": status, "wake_at": {"$gt": _EPOCH}}


def _age(wake_at: datetime, now: datetime) -> float:
    return max(0.0, (now - wake_at).total_seconds())
