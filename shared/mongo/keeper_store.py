"""The keeper's verbs: end what is overdue, count what waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo import UpdateOne

from shared.catalogue import MODALITIES
from shared.job import Ending, OverdueJob, Status
from shared.mongo import codec, moves
from shared.mongo.client import Database
from shared.settings import Settings
from shared.store import FULL_SECONDS, Backlog

COUNT_CAP = 100_000
_CHEAP_COUNT = 20_000
_EPOCH = datetime.fromtimestamp(0, UTC)


class KeeperVerbs:
    """Implements `shared.store.KeeperStore`."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._db = database
        self._settings = settings

    async def expire(self, limit: int, explain: Callable[[OverdueJob], Ending]) -> dict[str, int]:
        now = self._db.now()
        # The index holds wake_at and deadline_at, so a long backlog is scanned without fetching its documents.
        due = {"modality": {"$in": list(MODALITIES)}, "wake_at": {"$lte": now}}
        late = due | {"status": {"$in": moves.LIVE}, "deadline_at": {"$lte": now}}
        crashed = due | {"status": Status.PROCESSING.value, "crashes": {"$gte": self._settings.max_crashes - 1}}
        counts: Counter[str] = Counter()
        for query in (late, crashed):
            with self._db.bounded("looking for overdue jobs"):
                documents = await self._db.jobs.find(query, {"request": False}).hint("due").limit(limit).to_list()
            counts += await self._end(documents, now, explain)
        return dict(counts)

    async def _end(
        self, documents: list[codec.Document], now: datetime, explain: Callable[[OverdueJob], Ending]
    ) -> Counter[str]:
        """End each for its reason; whoever was claimed or finished meanwhile matches nothing."""
        updates: dict[str, list[UpdateOne]] = {}
        for document in documents:
            ending = explain(codec.decode_overdue(document, now))
            body = codec.encode_body(ending.error)
            move = moves.expire(document["_id"], ending, self._settings.max_crashes, document["result_ttl"], body)
            updates.setdefault(ending.reason, []).append(UpdateOne(move.filter, move.update))
        counts: Counter[str] = Counter()
        for reason, batch in updates.items():
            with self._db.bounded("ending overdue jobs"):
                counts[reason] += (await self._db.jobs.bulk_write(batch, ordered=False)).modified_count
        return counts

    async def backlog(self) -> list[Backlog]:
        now = self._db.now()
        found = await self._group(now)
        total = sum(backlog.count for backlog in found)
        if total >= _CHEAP_COUNT:
            return [await self._count(modality, status, now) for modality in MODALITIES for status in moves.LIVE]
        counted = {(backlog.modality, backlog.status): backlog for backlog in found}
        return [
            counted.get((modality, status), Backlog(modality, status, 0, False, 0.0))
            for modality in MODALITIES
            for status in moves.LIVE
        ]

    async def _group(self, now: datetime) -> list[Backlog]:
        """Count everything in one pass over the index, up to a cheap bound."""
        pipeline: list[dict[str, Any]] = [
            {"$match": {"modality": {"$in": list(MODALITIES)}, "wake_at": {"$gt": _EPOCH}}},
            {"$limit": _CHEAP_COUNT},
            {"$project": {"_id": 0, "modality": 1, "status": 1, "wake_at": 1}},
            {
                "$group": {
                    "_id": {"modality": "$modality", "status": "$status"},
                    "count": {"$sum": 1},
                    "oldest": {"$min": "$wake_at"},
                }
            },
        ]
        with self._db.bounded("counting"):
            cursor = await self._db.jobs.aggregate(pipeline, hint="due")
            groups = await cursor.to_list()
        return [
            Backlog(group["_id"]["modality"], group["_id"]["status"], group["count"], False, _age(group["oldest"], now))
            for group in groups
        ]

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

    async def declare_full(self, modalities: Collection[str]) -> None:
        until = self._db.now() + timedelta(seconds=FULL_SECONDS)
        document = {"modalities": sorted(modalities), "until": until}
        with self._db.bounded("saying what is full"):
            await self._db.meta.replace_one({"_id": "full"}, document, upsert=True)


def _live(modality: str, status: str) -> dict[str, Any]:
    """The filter of jobs in one state, so that the index of live jobs alone answers."""
    return {"modality": modality, "status": status, "wake_at": {"$gt": _EPOCH}}


def _age(wake_at: datetime, now: datetime) -> float:
    return max(0.0, (now - wake_at).total_seconds())
