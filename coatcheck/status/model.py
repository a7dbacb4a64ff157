"""What the status page says of modalities, processes and pauses, and what of it is not as it should be: pure."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

import msgspec

from shared.telemetry.process_report import BUCKET_SECONDS, BUCKETS_KEPT, Counts, Report, added, bucket_of

WAIT_SECONDS = 60.0
"""A job that has been due for longer has no worker, or too few."""
SILENT_SECONDS = 15.0  # three reports missed
_MANY_FAILED, _FAILED_SHARE = 5, 0.1
_WITHOUT = {"edge": "nobody takes requests in", "worker": "nobody runs jobs", "reaper": "nobody ends what is overdue"}
_SETTLED_SECONDS = 6
"""After this time every process has reported what it did in a slot."""


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """One modality over the window, oldest first. Times are in seconds; null where no job ended."""

    accepted: int
    completed: int
    failed: int
    accepted_per_second: list[float]
    ended_per_second: list[float]
    p50: float | None
    p95: float | None
    p50s: list[float | None]
    p95s: list[float | None]


class Modality(msgspec.Struct, frozen=True, kw_only=True):
    """One modality: what waits and runs now, and its last ten minutes."""

    name: str
    pending: int
    pending_capped: bool
    processing: int
    processing_capped: bool
    oldest_seconds: float
    """Since one of the oldest pending jobs was accepted."""
    due_seconds: float
    """How long the job that could start for longest has waited for a worker."""
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

    @property
    def silent(self) -> bool:
        return self.seconds_ago is None or self.seconds_ago > SILENT_SECONDS


class Paused(msgspec.Struct, frozen=True):
    """No calls to a provider for so many seconds more."""

    channel: str
    seconds: float


class Concern(msgspec.Struct, frozen=True):
    """One thing that is not as it should be: a sentence, and the page of docs/runbooks that tells what to do."""

    says: str
    runbook: str


def window(now: datetime) -> range:
    last = bucket_of(now) - 1 if now.timestamp() % BUCKET_SECONDS >= _SETTLED_SECONDS else bucket_of(now) - 2
    return range(last - BUCKETS_KEPT + 4, last + 1)


def add_up(reports: Iterable[Report], modalities: Sequence[str], slots: range) -> dict[str, Series]:
    found = {modality: [Counts() for _ in slots] for modality in modalities}
    for report in reports:
        for bucket in report.history:
            if bucket.number in slots:
                place = slots.index(bucket.number)
                for modality in bucket.counts.keys() & found.keys():
                    found[modality][place] = added(found[modality][place], bucket.counts[modality])
    return {modality: _series(each) for modality, each in found.items()}


def _series(each: Sequence[Counts]) -> Series:
    total = functools.reduce(added, each, Counts())
    return Series(
        accepted=total.accepted,
        completed=total.completed,
        failed=total.failed,
        accepted_per_second=[round(counts.accepted / BUCKET_SECONDS, 3) for counts in each],
        ended_per_second=[round((counts.completed + counts.failed) / BUCKET_SECONDS, 3) for counts in each],
        p50=quantile(total.durations, 0.5),
        p95=quantile(total.durations, 0.95),
        p50s=[quantile(counts.durations, 0.5) for counts in each],
        p95s=[quantile(counts.durations, 0.95) for counts in each],
    )


def quantile(durations: Mapping[str, int], share: float) -> float | None:
    """The time within which this share of the jobs ended, as exact as the buckets are; at most the last bound."""
    total = sum(durations.values())
    if not total:
        return None
    wanted, passed, lower = share * total, 0, 0.0
    for upper, count in sorted((float(bound), count) for bound, count in durations.items()):
        if upper == float("inf"):
            break
        if passed + count >= wanted:
            # An empty bucket below is not in the report; bounds are at most 6 times apart.
            floor = max(lower, upper / 5)
            return round(floor + (upper - floor) * (wanted - passed) / count, 3)
        passed, lower = passed + count, upper
    return lower


def concerns(modalities: Sequence[Modality], processes: Sequence[Process], paused: Sequence[Paused]) -> list[Concern]:
    of_providers = (
        Concern(f"{pause.channel} is paused for {pause.seconds:.0f} s more.", "CoatcheckProviderPaused")
        for pause in paused
    )
    return [*_of_processes(processes), *_of_jobs(modalities, processes), *of_providers]


def _of_processes(processes: Sequence[Process]) -> Iterator[Concern]:
    alive = {process.component for process in processes if not process.silent}
    for component, means in _WITHOUT.items():
        if component not in alive:
            yield Concern(f"No {component} reports: {means}.", "CoatcheckComponentMissing")
    for process in processes:
        jobs = sum(process.holds.values())
        if jobs and process.silent:
            says = f"{process.name} is silent and {jobs} jobs are under its name: others take them when its leases end."
            yield Concern(says, "CoatcheckTargetDown")
    versions = sorted({process.version for process in processes if process.version})
    if len(versions) > 1:
        yield Concern(f"Versions {', '.join(versions)} run side by side.", "CoatcheckVersionsDiffer")


def _of_jobs(modalities: Sequence[Modality], processes: Sequence[Process]) -> Iterator[Concern]:
    workers = [process for process in processes if process.component == "worker" and not process.silent]
    for each in modalities:
        if each.pending and workers and not any(each.name in worker.serves for worker in workers):
            yield Concern(
                f"{each.pending} jobs of {each.name} wait and no worker serves it.", "CoatcheckNothingClaimed"
            )
        elif each.due_seconds > WAIT_SECONDS:
            yield Concern(f"A job of {each.name} has waited for {each.due_seconds:.0f} s.", "CoatcheckJobsWait")
        failed, ended = each.series.failed, each.series.completed + each.series.failed
        if failed >= _MANY_FAILED and failed > _FAILED_SHARE * ended:
            yield Concern(f"{failed} of {ended} jobs of {each.name} failed.", "CoatcheckJobsFail")
