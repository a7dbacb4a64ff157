"""What a process reports about the last minutes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from shared.domain.errors import StoreUnavailable
from shared.telemetry import process_report
from shared.telemetry.metrics import JOB_DURATION, JOBS_ACCEPTED, JOBS_FINISHED
from shared.telemetry.process_report import (
    BUCKET_SECONDS,
    BUCKETS_KEPT,
    CounterDeltas,
    Counts,
    Report,
    keep_reporting,
    read_counters,
)

START = datetime(2026, 7, 25, 10, 40, 0, tzinfo=UTC)


class Totals:
    """Counters that a test sets."""

    def __init__(self) -> None:
        self.now = {"text": Counts(accepted=7)}

    def read(self) -> dict[str, Counts]:
        return {
            modality: Counts(c.accepted, c.completed, c.failed, dict(c.durations)) for modality, c in self.now.items()
        }


def test_what_was_there_before_and_times_without_jobs_are_in_no_slot() -> None:
    totals = Totals()
    tally = CounterDeltas(totals.read)
    assert tally.advance(START) == ()
    totals.now["text"] = Counts(accepted=9, completed=1, durations={"0.1": 1})
    (slot,) = tally.advance(START + timedelta(seconds=BUCKET_SECONDS))
    assert slot.counts == {"text": Counts(accepted=2, completed=1, durations={"0.1": 1})}
    assert tally.advance(START + timedelta(seconds=5 * BUCKET_SECONDS)) == (slot,)


def test_one_slot_gathers_what_several_reports_saw() -> None:
    totals = Totals()
    tally = CounterDeltas(totals.read)
    totals.now["text"] = Counts(accepted=8, durations={"0.1": 2})
    tally.advance(START)
    totals.now["text"] = Counts(accepted=10, failed=1, durations={"0.1": 3, "5.0": 1})
    (slot,) = tally.advance(START + timedelta(seconds=BUCKET_SECONDS / 2))
    assert slot.counts == {"text": Counts(accepted=3, failed=1, durations={"0.1": 3, "5.0": 1})}


def test_the_history_is_bounded() -> None:
    totals = Totals()
    tally = CounterDeltas(totals.read)
    for number in range(3 * BUCKETS_KEPT):
        totals.now["text"] = Counts(accepted=8 + number)
        slots = tally.advance(START + timedelta(seconds=number * BUCKET_SECONDS))
    assert len(slots) == BUCKETS_KEPT


def test_counters_are_read_by_modality_and_durations_by_bucket() -> None:
    before = read_counters()
    JOBS_ACCEPTED.labels("rerank").inc(3)
    JOBS_FINISHED.labels("rerank", "completed").inc(2)
    JOBS_FINISHED.labels("rerank", "failed").inc()
    for seconds in (0.3, 0.4, 90_000):
        JOB_DURATION.labels("rerank").observe(seconds)
    tally = CounterDeltas(lambda: before)
    tally._read = read_counters
    (slot,) = tally.advance(START)
    assert slot.counts["rerank"] == Counts(3, 2, 1, {"0.5": 2, "+Inf": 1})


class Store:
    """Takes reports; the first is refused."""

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self.refused = False
        self.enough = asyncio.Event()

    def now(self) -> datetime:
        return START

    async def report(self, report: Report) -> None:
        if not self.refused:
            self.refused = True
            raise StoreUnavailable("no primary")
        self.reports.append(report)
        self.enough.set()


async def test_a_report_that_cannot_be_written_is_followed_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_report, "REPORT_SECONDS", 0.001)
    store = Store()
    reporting = asyncio.create_task(keep_reporting(store, "w-1", "worker", ["text"]))
    await asyncio.wait_for(store.enough.wait(), 10)
    reporting.cancel()
    (first, *_) = store.reports
    assert (first.process, first.component, first.serves, first.started_at) == ("w-1", "worker", ("text",), START)
