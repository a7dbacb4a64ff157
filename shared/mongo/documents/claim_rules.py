"""Which jobs may be claimed and which are overdue, each rule twice, because an index does not answer `$expr`: as an
expression on `$$NOW`, which decides in an update, and as a query on `now`, which finds candidates for it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from shared.domain.job import DOCUMENT_VERSION, LIVE, Status

Filter = dict[str, Any]
UNWAKEABLE: Filter = {"status": {"$in": LIVE}, "wake_at": None}
"""Live jobs that lost their `wake_at`: the indexes of live jobs do not hold them, one of their own does."""
DUE = {"$lte": ["$wake_at", "$$NOW"]}
IN_TIME = {"$gt": ["$deadline_at", "$$NOW"]}
LATE = {"$lte": ["$deadline_at", "$$NOW"]}
LEASE_OVER = {"$eq": ["$status", Status.PROCESSING.value]}
"""Of a due job."""
CALLED = {"$and": [LEASE_OVER, {"$ne": ["$lease.began", False]}]}
"""Under the lease that ran out a call had begun, or nothing says that none had: that counts as a crash."""
WITH_THIS_CRASH = {"$add": [{"$ifNull": ["$crashes", 0]}, {"$cond": [CALLED, 1, 0]}]}
"""The crashes of a due job, the lease that ran out included."""


def counts_as_crash(document: Mapping[str, Any]) -> bool:
    """CALLED, of a document that was read: whether the end of its lease, if that is over, is one more crash."""
    lease = document.get("lease")
    unbegun = isinstance(lease, dict) and lease.get("began") is False
    return document["status"] == Status.PROCESSING.value and not unbegun


def not_newer() -> Filter:
    """Layouts newer than ours belong to newer components, readable for us or not."""
    return {"$not": {"$gt": DOCUMENT_VERSION}}


def suspect_from(max_crashes: int) -> int:
    """The crash count, after a claim, from which a job runs apart: one or two more and it is failed."""
    return max(1, max_crashes - 2)


def claimable(max_crashes: int, *, suspects: bool) -> Filter:
    """Jobs that a claim takes, but for their ids. `$expr` is true for a missing field, such as an ended `wake_at`."""
    return {
        "v": {"$lte": DOCUMENT_VERSION},
        "wake_at": {"$exists": True},
        "$or": _crash_bound(max_crashes, suspects=suspects),
        "$expr": {"$and": [DUE, IN_TIME]},
    }


def claimable_query(
    modality: str, status: Status, due_by: datetime, now: datetime, max_crashes: int, *, suspects: bool
) -> Filter:
    """The same of one modality and state, due since `due_by`; with `suspects` both kinds. For the index `due`."""
    return {
        "_id": {"$type": "binData"},
        "modality": modality,
        "status": status.value,
        "wake_at": {"$lte": due_by},
        "deadline_at": {"$gt": now},
        "v": {"$lte": DOCUMENT_VERSION},  # jobs that only newer workers can read must not fill the sweep
        **({} if suspects else {"$or": _crash_bound(max_crashes, suspects=False)}),
    }


def overdue(max_crashes: int) -> Filter:
    """Jobs that may be expired: past the deadline, which no lease outlives, or without a lease and out of crashes."""
    out_of_crashes = {"$and": [DUE, LEASE_OVER, {"$gte": [WITH_THIS_CRASH, max_crashes]}]}
    return {**_live(), "$expr": {"$or": [LATE, out_of_crashes]}}


def late_query(now: datetime) -> Filter:
    """Jobs past their deadline. For the index `deadline`."""
    return {**_live(), "_id": {"$type": "binData"}, "deadline_at": {"$lte": now}}


def _live() -> Filter:
    return {"v": not_newer(), "status": {"$in": LIVE}, "wake_at": {"$exists": True}}


def out_of_crashes_query(now: datetime, max_crashes: int, modalities: Collection[str]) -> Filter:
    """Jobs whose last lease is over and was their last crash. For the index `due`."""
    return {
        "v": not_newer(),
        "_id": {"$type": "binData"},
        "modality": {"$in": list(modalities)},
        "status": Status.PROCESSING.value,
        "$or": [
            {"crashes": {"$gte": max_crashes}},
            {"crashes": {"$gte": max_crashes - 1}, "lease.began": {"$ne": False}},
        ],
        "wake_at": {"$lte": now},
    }


def _crash_bound(max_crashes: int, *, suspects: bool) -> list[Filter]:
    """Which budgets of crashes a claim may touch. A job whose expired lease is its last crash is left to `expire`."""
    border = suspect_from(max_crashes)
    low, high = (border, max_crashes) if suspects else (0, border)

    def between(least: int, most: int) -> Filter:
        # "Not at least most": a job that never crashed has no such field.
        return {"crashes": {"$gte": least, "$lt": most} if least > 0 else {"$not": {"$gte": most}}}

    return [
        {"status": Status.PENDING.value, **between(low, high)},
        {"status": Status.PROCESSING.value, "lease.began": False, **between(low, high)},
        {"status": Status.PROCESSING.value, "lease.began": {"$ne": False}, **between(low - 1, high - 1)},
    ]
