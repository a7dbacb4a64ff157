"""Everything that an operator wants to see at once, read from the database in a few bounded queries."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from coatcheck.status.causes import Cause, group
from coatcheck.status.model import Concern, Modality, Paused, Process, Series, add_up, concerns, window
from shared.domain.catalogue import MODALITIES
from shared.domain.errors import StoreUnavailable
from shared.domain.store_interface import Backlog
from shared.mongo.connection.client import Database
from shared.mongo.mongo_store import MongoStore
from shared.mongo.operator_store import Holding, OperatorStore
from shared.mongo.reports import MongoReportStore, ReportWithAge
from shared.settings.table import Settings
from shared.telemetry.process_report import BUCKET_SECONDS

FAILURE_SECONDS = 3600
MAX_FAILURES = 500
MAX_HELD = 5000
"""Jobs looked at to find out who runs what; with more running the numbers are a part."""
GONE_SECONDS = 30.0
"""Without a report for so long a process is not shown any more, unless jobs are still under its name."""
_TOLD = ("component", "version", "started_at", "serves", "slots", "busy")


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """One look. `concerns` says what is not as it should be; empty: all is well."""

    at: datetime
    concerns: list[Concern]
    window_seconds: int
    slot_seconds: int
    modalities: list[Modality]
    processes: list[Process]
    held_partial: bool
    causes: list[Cause]
    causes_problem: str
    failures: int
    failure_seconds: int
    paused: list[Paused]
    database_milliseconds: float


async def gather(database: Database, settings: Settings) -> Facts:
    """Look once. Raises StoreUnavailable."""
    began = time.monotonic()
    store, operator = MongoStore(database, settings), OperatorStore(database)
    backlog = await store.backlog()
    seen = await MongoReportStore(database).reports()
    holdings = await operator.held(MAX_HELD)
    pauses = await store.pauses()
    causes_problem = ""
    try:
        failures = await operator.recent_failures(FAILURE_SECONDS, MAX_FAILURES)
    except StoreUnavailable as error:  # its index is younger than the others
        failures, causes_problem = [], str(error)
    now = database.now()
    slots = window(now)
    modalities = _modalities(backlog, add_up((each.report for each in seen), MODALITIES, slots))
    processes = _processes(seen, holdings)
    paused = [Paused(pause.channel, round(pause.seconds, 1)) for pause in pauses]
    return Facts(
        at=now,
        concerns=concerns(modalities, processes, paused),
        window_seconds=len(slots) * BUCKET_SECONDS,
        slot_seconds=BUCKET_SECONDS,
        modalities=modalities,
        processes=processes,
        held_partial=sum(holding.jobs for holding in holdings) >= MAX_HELD,
        causes=group(failures),
        causes_problem=causes_problem,
        failures=len(failures),
        failure_seconds=FAILURE_SECONDS,
        paused=paused,
        database_milliseconds=round((time.monotonic() - began) * 1000, 1),
    )


def _modalities(backlog: Sequence[Backlog], series: dict[str, Series]) -> list[Modality]:
    found = {(each.modality, each.status): each for each in backlog}
    return [
        Modality(
            name=name,
            pending=found[name, "pending"].count,
            pending_capped=found[name, "pending"].capped,
            processing=found[name, "processing"].count,
            processing_capped=found[name, "processing"].capped,
            oldest_seconds=round(found[name, "pending"].waits, 1),
            due_seconds=round(found[name, "pending"].oldest_age, 1),
            series=series[name],
        )
        for name in MODALITIES
    ]


def _processes(seen: Sequence[ReportWithAge], holdings: Iterable[Holding]) -> list[Process]:
    by_worker: dict[str, list[Holding]] = {}
    for holding in holdings:
        by_worker.setdefault(holding.worker, []).append(holding)
    found = []
    for each in seen:
        report, held = each.report, by_worker.pop(each.report.process, [])
        if held or each.seconds_ago <= GONE_SECONDS:
            told = {name: getattr(report, name) for name in _TOLD}
            found.append(Process(name=report.process, seconds_ago=round(each.seconds_ago, 1), **told, **_held(held)))
    found += [Process(name=name, component="", **_held(held)) for name, held in by_worker.items()]
    return sorted(found, key=lambda process: (process.component, process.name))


def _held(holdings: Sequence[Holding]) -> dict[str, Any]:
    longest = max((holding.longest for holding in holdings), default=0.0)
    return {"holds": {each.modality: each.jobs for each in holdings}, "longest_seconds": round(longest, 1)}
