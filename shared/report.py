"""What a process says about itself every few seconds, and did in the last minutes; the status page adds it all up."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from importlib import metadata
from typing import Any, Protocol
from uuid import uuid4

import msgspec

from shared.catalogue import BY_TYPE
from shared.errors import StoreUnavailable
from shared.metrics import JOB_DURATION, JOBS_ACCEPTED, JOBS_FINISHED, SLOTS, SLOTS_BUSY

REPORT_SECONDS = 5.0
SLOT_SECONDS = 10
SLOTS_KEPT = 60
"""Ten minutes: a report stays below some kilobytes, and so does what the database writes for it."""

log = logging.getLogger(__name__)


class Counts(msgspec.Struct, array_like=True):
    """Jobs of one modality. `durations`: how many took at most so many seconds and more than the next smaller bound."""

    accepted: int = 0
    completed: int = 0
    failed: int = 0
    durations: dict[str, int] = {}


class Slot(msgspec.Struct, array_like=True):
    """What happened in SLOT_SECONDS, by modality. `number` is the time since 1970 in such slots, by the database."""

    number: int
    counts: dict[str, Counts]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One process: who it is, what it can run and runs now, and what it did, oldest slot first, without empty slots."""

    process: str
    component: str
    version: str
    started_at: datetime
    serves: tuple[str, ...] = ()
    slots: int = 0
    busy: int = 0
    history: tuple[Slot, ...] = ()


class ReportStore(Protocol):
    """Where reports go."""

    def now(self) -> datetime:
        """This moment by the database's clock."""
        ...

    async def report(self, report: Report) -> None:
        """Replace this process's report; it goes away by itself some minutes after the last one."""
        ...


def process_name() -> str:
    """A name that no other process has had: host, process id, and a few random digits."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}"


def _version() -> str:
    try:
        return metadata.version("coatcheck")
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"


def slot_of(moment: datetime) -> int:
    """The number of the slot that a moment belongs to."""
    return int(moment.timestamp()) // SLOT_SECONDS


class Tally:
    """Turns counters that only grow into slots. `read` gives the totals of this process by modality."""

    def __init__(self, read: Callable[[], dict[str, Counts]]) -> None:
        self._read = read
        self._before = read()
        self._slots: list[Slot] = []

    def advance(self, now: datetime) -> tuple[Slot, ...]:
        """Put down what was done since the last call, and return all slots that are kept."""
        totals = self._read()
        done = {
            modality: difference
            for modality, total in totals.items()
            if (difference := _difference(total, self._before.get(modality, Counts()))) != Counts()
        }
        self._before = totals
        number = slot_of(now)
        if done:
            if not self._slots or self._slots[-1].number < number:
                self._slots.append(Slot(number, {}))
            kept = self._slots[-1].counts
            for modality, counts in done.items():
                kept[modality] = added(kept.get(modality, Counts()), counts)
        self._slots = [slot for slot in self._slots if slot.number > number - SLOTS_KEPT]
        return tuple(self._slots)


def added(one: Counts, other: Counts) -> Counts:
    """The sum of both."""
    bounds = {**one.durations, **other.durations}
    durations = {bound: one.durations.get(bound, 0) + other.durations.get(bound, 0) for bound in bounds}
    return Counts(one.accepted + other.accepted, one.completed + other.completed, one.failed + other.failed, durations)


def _difference(now: Counts, before: Counts) -> Counts:
    durations = {bound: count - before.durations.get(bound, 0) for bound, count in now.durations.items()}
    return Counts(
        now.accepted - before.accepted,
        now.completed - before.completed,
        now.failed - before.failed,
        {bound: count for bound, count in durations.items() if count},
    )


def read_counters() -> dict[str, Counts]:
    """The totals of this process since its start, from its own metrics."""
    found: dict[str, Counts] = {}
    for labels, value in _samples(JOBS_ACCEPTED, "_total"):
        _of(found, BY_TYPE[labels["request_type"]].modality).accepted += value
    for labels, value in _samples(JOBS_FINISHED, "_total"):
        counts = _of(found, labels["modality"])
        if labels["outcome"] == "completed":
            counts.completed += value
        else:
            counts.failed += value
    below: dict[str, int] = {}  # buckets come in order, and each counts what the smaller ones count
    for labels, value in _samples(JOB_DURATION, "_bucket"):
        modality = labels["modality"]
        _of(found, modality).durations[labels["le"]] = value - below.get(modality, 0)
        below[modality] = value
    return found


def _of(found: dict[str, Counts], modality: str) -> Counts:
    return found.setdefault(modality, Counts(durations={}))


def _samples(metric: Any, suffix: str) -> Iterator[tuple[dict[str, str], int]]:
    for family in metric.collect():
        for sample in family.samples:
            if sample.name.endswith(suffix):
                yield sample.labels, int(sample.value)


def _value(gauge: Any) -> int:
    return int(gauge.collect()[0].samples[0].value)


async def keep_reporting(store: ReportStore, process: str, component: str, serves: Sequence[str] = ()) -> None:
    """Report for ever. A report that cannot be written is dropped: the next one says everything that it said."""
    tally = Tally(read_counters)
    version = _version()
    started_at: datetime | None = None
    while True:
        try:
            now = store.now()
            started_at = started_at or now
            await store.report(
                Report(
                    process=process,
                    component=component,
                    version=version,
                    started_at=started_at,
                    serves=tuple(serves),
                    slots=_value(SLOTS),
                    busy=_value(SLOTS_BUSY),
                    history=tally.advance(now),
                )
            )
        except StoreUnavailable as error:
            log.debug("no report: %s", error)
        await asyncio.sleep(REPORT_SECONDS * random.uniform(0.9, 1.1))
