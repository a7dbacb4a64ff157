"""Reports of processes: each replaces its own one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec
from bson.binary import Binary

from shared.domain.errors import Unreadable
from shared.mongo.connection.client import Database
from shared.mongo.documents.layout import StoredReport, checked
from shared.telemetry.process_report import BUCKET_SECONDS, BUCKETS_KEPT, Report

MAX_REPORTS = 500
_KEPT_SECONDS = BUCKET_SECONDS * BUCKETS_KEPT
_decoder = msgspec.msgpack.Decoder(Report)


@dataclass(frozen=True, slots=True)
class ReportWithAge:
    """A report, and how many seconds ago it came, by the database's clock."""

    report: Report
    seconds_ago: float


class MongoReportStore:
    """Implements `shared.telemetry.process_report.ReportStore`, and reads what all processes reported."""

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

    async def reports(self) -> list[ReportWithAge]:
        """The newest MAX_REPORTS that are not too old to matter, without those that cannot be read here."""
        now = self._db.now()
        with self._db.bounded("reading reports"):
            newest = self._db.reports.find({"expires_at": {"$gt": now}}).sort("expires_at", -1).limit(MAX_REPORTS)
            documents = await newest.to_list()
        found = []
        for document in documents:
            try:
                stored = checked(document, StoredReport)
                report = _decoder.decode(stored.body)
            except (Unreadable, msgspec.DecodeError):
                continue
            found.append(ReportWithAge(report, max(0.0, (now - stored.at).total_seconds())))
        return found
