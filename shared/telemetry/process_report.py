"""What a process says about itself every few seconds, and did in the last minutes; the status page adds it all up."""

import asyncio
import logging
import os
import random
import socket
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Protocol
from uuid import uuid4

import msgspec

from shared.domain.catalogue import BY_TYPE
from shared.domain.errors import StoreUnavailable
from shared.domain.job import Status
from shared.telemetry.metrics import JOB_DURATION, JOBS_ACCEPTED, JOBS_FINISHED, SLOTS, SLOTS_BUSY
from shared.version import version

REPORT_SECONDS = 5.0
BUCKET_SECONDS = 10
BUCKETS_KEPT = 60
"""Ten minutes: a report stays below some kilobytes, and so does what the database writes for it."""

log = logging.getLogger(__name__)


class Counts(msgspec.Struct, array_like=True):
    """Jobs of one modality. `durations`: how many took at most so many seconds and more than the next smaller bound."""

    accepted: int = 0
    completed: int = 0
    failed: int = 0
    durations: dict[str, int] = {}


class TimeBucket(msgspec.Struct, array_like=True):
    """What happened in BUCKET_SECONDS, by modality. `number`: time since 1970 in such buckets, by the database."""

    number: int
    counts: dict[str, Counts]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What one process is, can run, runs now, and did: oldest bucket first, without empty ones."""

    process: str
    component: str
    version: str
    started_at: datetime
    serves: tuple[str, ...] = ()
    slots: int = 0
    busy: int = 0
    history: tuple[TimeBucket, ...] = ()


class ReportStore(Protocol):
    def now(self) -> datetime: ...

    async def report(self, report: Report) -> None:
        """Replace this process's report; it goes away by itself some minutes after the last one."""


def process_name() -> str:
    """A name that no other process has had: host, process id, and a few random digits."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:6]}"


def bucket_of(moment: datetime) -> int:
    return int(moment.timestamp()) // BUCKET_SECONDS


class CounterDeltas:
    """Turns counters that only grow into buckets. `read` gives the totals of this process by modality."""

    def __init__(self, read: Callable[[], dict[str, Counts]]) -> None:
        self._read = read
        self._before = read()
        self._buckets: list[TimeBucket] = []

    def advance(self, now: datetime) -> tuple[TimeBucket, ...]:
        """Put down what was done since the last call, and return all buckets that are kept."""
        totals = self._read()
        number = bucket_of(now)
        for modality, total in totals.items():
            done = added(total, self._before.get(modality, Counts()), -1)
            if done == Counts():
                continue
            if not self._buckets or self._buckets[-1].number < number:
                self._buckets.append(TimeBucket(number, {}))
            kept = self._buckets[-1].counts
            kept[modality] = added(kept.get(modality, Counts()), done)
        self._before = totals
        self._buckets = [bucket for bucket in self._buckets if bucket.number > number - BUCKETS_KEPT]
        return tuple(self._buckets)


def added(one: Counts, other: Counts, times: int = 1) -> Counts:
    """The sum of both, of `other` so many times."""
    bounds = {**one.durations, **other.durations}
    durations = {bound: one.durations.get(bound, 0) + times * other.durations.get(bound, 0) for bound in bounds}
    return Counts(
        one.accepted + times * other.accepted,
        one.completed + times * other.completed,
        one.failed + times * other.failed,
        {bound: count for bound, count in durations.items() if count},
    )


def read_counters() -> dict[str, Counts]:
    found = defaultdict[str, Counts](Counts)
    for labels, value in _samples(JOBS_ACCEPTED, "_total"):
        found[BY_TYPE[labels["request_type"]].modality].accepted += value
    for labels, value in _samples(JOBS_FINISHED, "_total"):
        if Status(labels["outcome"]).succeeded:
            found[labels["modality"]].completed += value
        else:
            found[labels["modality"]].failed += value
    below: dict[str, int] = {}  # buckets come in order, and each counts what the smaller ones count
    for labels, value in _samples(JOB_DURATION, "_bucket"):
        modality = labels["modality"]
        found[modality].durations[labels["le"]] = value - below.get(modality, 0)
        below[modality] = value
    return found


def _samples(metric: Any, suffix: str = "") -> Iterator[tuple[dict[str, str], int]]:
    for family in metric.collect():
        for sample in family.samples:
            if sample.name.endswith(suffix):
                yield sample.labels, int(sample.value)


async def keep_reporting(store: ReportStore, process: str, component: str, serves: Sequence[str] = ()) -> None:
    """Report for ever. A report that cannot be written is dropped: the next one says everything that it said."""
    tally = CounterDeltas(read_counters)
    ours = partial(Report, process=process, component=component, version=version(), serves=tuple(serves))
    started_at: datetime | None = None
    while True:
        try:
            now = store.now()
            started_at = started_at or now
            [(_, slots)], [(_, busy)] = _samples(SLOTS), _samples(SLOTS_BUSY)
            await store.report(ours(started_at=started_at, slots=slots, busy=busy, history=tally.advance(now)))
        except StoreUnavailable as error:
            log.debug("no report: %s", error)
        await asyncio.sleep(REPORT_SECONDS * random.uniform(0.9, 1.1))
