"""Adds up the reports of all processes: jobs per second and how long they took, slot by slot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from shared.report import SLOT_SECONDS, SLOTS_KEPT, Counts, Report, added, slot_of

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


def window(now: datetime) -> range:
    """The slots that are shown: all that are complete and still in every report."""
    last = slot_of(now) - 1 if now.timestamp() % SLOT_SECONDS >= _SETTLED_SECONDS else slot_of(now) - 2
    return range(last - SLOTS_KEPT + 4, last + 1)


def add_up(reports: Iterable[Report], modalities: Sequence[str], slots: range) -> dict[str, Series]:
    """The series of each modality in these slots."""
    found: dict[str, dict[int, Counts]] = {modality: {} for modality in modalities}
    for report in reports:
        for slot in report.history:
            if slot.number not in slots:
                continue
            for modality, counts in slot.counts.items():
                if modality in found:
                    by_slot = found[modality]
                    by_slot[slot.number] = added(by_slot.get(slot.number, Counts()), counts)
    return {modality: _series(by_slot, slots) for modality, by_slot in found.items()}


def _series(by_slot: Mapping[int, Counts], slots: range) -> Series:
    each = [by_slot.get(number, Counts()) for number in slots]
    total = Counts()
    for counts in each:
        total = added(total, counts)
    return Series(
        accepted=total.accepted,
        completed=total.completed,
        failed=total.failed,
        accepted_per_second=[round(counts.accepted / SLOT_SECONDS, 3) for counts in each],
        ended_per_second=[round((counts.completed + counts.failed) / SLOT_SECONDS, 3) for counts in each],
        p50=quantile(total.durations, 0.5),
        p95=quantile(total.durations, 0.95),
        p50s=[quantile(counts.durations, 0.5) for counts in each],
        p95s=[quantile(counts.durations, 0.95) for counts in each],
    )


def quantile(durations: Mapping[str, int], share: float) -> float | None:
    """The time within which this share of the jobs ended, as exact as the buckets are; None without jobs.

    Above the last bound it is that bound.
    """
    total = sum(durations.values())
    if not total:
        return None
    wanted, passed, lower = share * total, 0, 0.0
    for upper, count in sorted((float(bound), count) for bound, count in durations.items()):
        if upper == float("inf"):
            break
        if passed + count >= wanted:
            floor = max(
                lower, upper / 5
            )  # an empty bucket below is not in the report; bounds are at most 6 times apart
            return round(floor + (upper - floor) * (wanted - passed) / count, 3)
        passed, lower = passed + count, upper
    return lower
