"""Everything that an operator wants to see at once, read from the database in a few bounded queries."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from coatcheck.status.causes import Cause, group
from coatcheck.status.concerns import Concern, concerns
from coatcheck.status.series import Series, add_up, window
from shared.catalogue import MODALITIES
from shared.errors import StoreUnavailable
from shared.mongo.client import Database
from shared.mongo.operator import Holding, OperatorStore
from shared.mongo.reports import ReportVerbs, Seen
from shared.mongo.store import MongoStore
from shared.report import SLOT_SECONDS
from shared.settings import Settings
from shared.store import Backlog

FAILURE_SECONDS = 3600
MAX_FAILURES = 500
MAX_HELD = 5000
"""Jobs looked at to find out who runs what; with more running the numbers are a part."""


class Modality(msgspec.Struct, frozen=True, kw_only=True):
    """One modality: what waits and runs now, and its last ten minutes."""

    name: str
    pending: int
    pending_capped: bool
    processing: int
    processing_capped: bool
    oldest_seconds: float
    series: Series


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A process. `component` is empty for one that left no report and still has jobs under its name."""

    name: str
    component: str
    version: str = ""
    started_at: datetime | None = None
    seconds_ago: float | None = None
    serves: tuple[str, ...] = ()
    slots: int = 0
    busy: int = 0
    holds: dict[str, int] = {}
    longest_seconds: float = 0.0


class Paused(msgspec.Struct, frozen=True):
    """No calls to a provider for so many seconds more."""

    channel: str
    seconds: float


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
    seen = await ReportVerbs(database).reports()
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
        window_seconds=len(slots) * SLOT_SECONDS,
        slot_seconds=SLOT_SECONDS,
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
            oldest_seconds=round(found[name, "pending"].oldest_age, 1),
            series=series[name],
        )
        for name in MODALITIES
    ]


def _processes(seen: Sequence[Seen], holdings: Iterable[Holding]) -> list[Process]:
    """Who reported within half a minute or still holds jobs; by component, then by name."""
    by_worker: dict[str, list[Holding]] = {}
    for holding in holdings:
        by_worker.setdefault(holding.worker, []).append(holding)
    found = []
    for each in seen:
        report, held = each.report, by_worker.pop(each.report.process, [])
        if each.seconds_ago > GONE_SECONDS and not held:
            continue
        found.append(
            Process(
                name=report.process,
                component=report.component,
                version=report.version,
                started_at=report.started_at,
                seconds_ago=round(each.seconds_ago, 1),
                serves=report.serves,
                slots=report.slots,
                busy=report.busy,
                holds={holding.modality: holding.jobs for holding in held},
                longest_seconds=round(max((holding.longest for holding in held), default=0.0), 1),
            )
        )
    for name, held in by_worker.items():
        holds = {holding.modality: holding.jobs for holding in held}
        longest = round(max(holding.longest for holding in held), 1)
        found.append(Process(name=name, component="", holds=holds, longest_seconds=longest))
    return sorted(found, key=lambda process: (process.component, process.name))


GONE_SECONDS = 30.0
"""Without a report for so long a process is not shown any more, unless jobs are still under its name."""
