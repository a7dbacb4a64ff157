"""Reports of processes: each replaces its own one, and an index deletes those of processes that are gone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec
from bson.binary import Binary

from shared.mongo.client import Database
from shared.report import SLOT_SECONDS, SLOTS_KEPT, Report

MAX_REPORTS = 500
_KEPT_SECONDS = SLOT_SECONDS * SLOTS_KEPT
_decoder = msgspec.msgpack.Decoder(Report)


@dataclass(frozen=True, slots=True)
class Seen:
    """A report, and how many seconds ago it came, by the database's clock."""

    report: Report
    seconds_ago: float


class ReportVerbs:
    """Implements `shared.report.ReportStore`, and reads what all processes reported."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def now(self) -> datetime:
        return self._db.now()

    async def report(self, report: Report) -> None:
        fields = {
            "body": {"$literal": Binary(msgspec.msgpack.encode(report))},
            "at": "$$NOW",
            "expires_at": {"$add": ["$$NOW", _KEPT_SECONDS * 1000]},
        }
        with self._db.bounded("reporting"):
            await self._db.reports.update_one({"_id": report.process}, [{"$set": fields}], upsert=True)

    async def reports(self) -> list[Seen]:
        """The newest MAX_REPORTS that are not too old to matter. What a newer version wrote otherwise is left out."""
        now = self._db.now()
        with self._db.bounded("reading reports"):
            cursor = self._db.reports.find({"expires_at": {"$gt": now}}).sort("expires_at", -1).limit(MAX_REPORTS)
            documents = await cursor.to_list()
        found = []
        for document in documents:
            try:
                report = _decoder.decode(document["body"])
            except msgspec.DecodeError:
                continue
            found.append(Seen(report, max(0.0, (now - document["at"]).total_seconds())))
        return found
