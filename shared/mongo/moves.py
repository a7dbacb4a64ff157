"""Every change of a stored job, one constructor per move: who may be changed (`filter`) and how (`update`).

Nothing else builds an update of a job. Updates are pipelines, so that times come from the database's clock (`$$NOW`);
therefore every value that comes from outside is wrapped in `$literal`: a string that begins with `$` is evaluated.
`$expr` comparisons are true for missing fields, so the filters also ask for the field's existence: without that a
finished job, which has no `wake_at`, could be claimed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from shared.job import DOCUMENT_VERSION, AttemptNote, Ending, Finish, Record, Release, Status
from shared.mongo.codec import binary
from shared.redaction import plain

LIVE = [Status.PENDING.value, Status.PROCESSING.value]
MAX_NOTE_CHARACTERS = 256
MAX_NOTES = 20
"""Attempts kept in a job's history; the oldest are dropped."""

_DUE = {"$lte": ["$wake_at", "$$NOW"]}
_IN_TIME = {"$gt": ["$deadline_at", "$$NOW"]}
_OF_THE_CLAIM = {"due": "$lease.due", "claimed": "$lease.at", "source": "$lease.source", "recorded": "$$NOW"}
_LEASE_OVER = {"$eq": ["$status", Status.PROCESSING.value]}

Filter = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Move:
    """A fenced change. `filter` names who may be changed, `update` is an aggregation pipeline."""

    filter: Filter
    update: list[dict[str, Any]]


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _literal(value: Any) -> dict[str, Any]:
    return {"$literal": value}


def _spent(field: str) -> dict[str, Any]:
    return {"$ifNull": [f"${field}", 0]}


def _until(milliseconds: int | str) -> dict[str, Any]:
    """So long from now, but never past the job's deadline."""
    return {"$min": [{"$add": ["$$NOW", milliseconds]}, "$deadline_at"]}


def _storable(note: AttemptNote) -> dict[str, Any]:
    """A provider chooses some of these texts: one that BSON cannot hold would fail the whole batch of outcomes."""
    return {
        "worker": _text(note.worker),
        "provider": _text(note.provider),
        "outcome": _text(note.outcome),
        "milliseconds": note.milliseconds,
        "upstream_request_id": _text(note.upstream_request_id),
    }


def _text(value: str) -> str:
    return plain(value[:MAX_NOTE_CHARACTERS])


def _with_notes(records: Sequence[Record]) -> dict[str, Any]:
    """The history with these calls, and with when the claim under which they were made was due, made and recorded."""
    if not any(record.notes for record in records):
        return {}
    added = {"$map": {"input": "$_record.notes", "as": "note", "in": {"$mergeObjects": ["$$note", _OF_THE_CLAIM]}}}
    kept = {"$slice": [{"$concatArrays": [{"$ifNull": ["$attempts", []]}, added]}, -MAX_NOTES]}
    return {"attempts": kept}


def suspect_from(max_crashes: int) -> int:
    """The crash count, after a claim, from which a job runs apart from its like: one or two more and it is failed."""
    return max(1, max_crashes - 2)


def crash_bound(max_crashes: int, *, suspects: bool) -> list[Filter]:
    """Which budgets of crashes a claim may touch, as alternatives.

    Suspects are claimed apart from the others. A job whose expired lease is its last crash is left to `expire`.
    """
    border = suspect_from(max_crashes)
    low, high = (border, max_crashes) if suspects else (0, border)

    def between(least: int, most: int) -> Filter:
        # A job that never crashed has no such field, so "below most" is asked as "not at least most".
        return {"crashes": {"$gte": least, "$lt": most} if least > 0 else {"$not": {"$gte": most}}}

    return [
        {"status": Status.PENDING.value, **between(low, high)},
        {"status": Status.PROCESSING.value, **between(low - 1, high - 1)},
    ]


def claim(
    ids: Sequence[UUID],
    lease: UUID,
    worker: str,
    seconds: float,
    max_crashes: int,
    *,
    suspects: bool,
    source: str = "",
) -> Move:
    """Take due jobs: pending ones, and running ones whose lease is over, which spends a crash."""
    return Move(
        filter={
            "_id": {"$in": [binary(each) for each in ids]},
            "v": {"$lte": DOCUMENT_VERSION},
            "wake_at": {"$exists": True},
            "$or": crash_bound(max_crashes, suspects=suspects),
            "$expr": {"$and": [_DUE, _IN_TIME]},
        },
        update=[
            {
                "$set": {
                    "status": Status.PROCESSING.value,
                    "claims": {"$add": [_spent("claims"), 1]},
                    "crashes": {"$add": [_spent("crashes"), {"$cond": [_LEASE_OVER, 1, 0]}]},
                    "lease": {
                        "id": binary(lease),
                        "worker": _literal(worker),
                        "due": "$wake_at",
                        "at": "$$NOW",
                        "taken_over": _LEASE_OVER,
                        **({"source": _literal(source)} if source else {}),
                    },
                    "wake_at": _until(_milliseconds(seconds)),
                }
            }
        ],
    )


def _position(records: Sequence[Record]) -> dict[str, Any]:
    """Which of the records is of a job under the lease that it has now; -1: none."""
    pairs = [[binary(record.job_id), binary(record.lease)] for record in records]
    return {"$indexOfArray": [_literal(pairs), ["$_id", "$lease.id"]]}


def _held(records: Sequence[Record], position: dict[str, Any]) -> Filter:
    """The jobs that are still held under the lease of their record."""
    return {
        "_id": {"$in": [binary(record.job_id) for record in records]},
        "status": Status.PROCESSING.value,
        "$expr": {"$gte": [position, 0]},
    }


def _own(records: Sequence[Record], values: Sequence[dict[str, Any]], position: dict[str, Any]) -> dict[str, Any]:
    """A stage that gives each job, as `_record`, what its own record says.

    One statement for all is a third to a half of the database's work for one statement each.
    """
    noted = [
        {**value, "notes": [_storable(note) for note in record.notes[-MAX_NOTES:]]}
        for record, value in zip(records, values, strict=True)
    ]
    return {"$set": {"_record": {"$arrayElemAt": [_literal(noted), position]}}}


def renew(ids: Sequence[UUID], leases: Sequence[UUID], seconds: float) -> Move:
    """Extend what this process holds. `leases` are all its lease ids: another holder has none of them."""
    return Move(
        filter={
            "_id": {"$in": [binary(each) for each in ids]},
            "lease.id": {"$in": [binary(each) for each in leases]},
            "status": Status.PROCESSING.value,
            "$expr": _IN_TIME,
        },
        update=[{"$set": {"wake_at": _until(_milliseconds(seconds))}}],
    )


def finish(records: Sequence[Finish], bodies: Sequence[dict[str, Any]]) -> Move:
    """End held jobs, all with the same status; `bodies` are the records' as stored, inline or by reference.

    The lease stays, so that a recorder can tell "already mine" from "lost". A failed job keeps its request until it
    expires, so that an operator can requeue it.
    """
    completed, position = records[0].status is Status.COMPLETED, _position(records)
    own = [
        {"status_code": record.status_code, "ttl": record.result_ttl * 1000, "body": body}
        for record, body in zip(records, bodies, strict=True)
    ]
    return Move(
        filter=_held(records, position),
        update=[
            _own(records, own, position),
            {
                "$set": {
                    "status": records[0].status.value,
                    "status_code": "$_record.status_code",
                    "completed_at": "$$NOW",
                    "expires_at": {"$add": ["$$NOW", "$_record.ttl"]},
                    "result" if completed else "error": "$_record.body",
                    **_with_notes(records),
                }
            },
            {"$unset": ["_record", "wake_at", "request"] if completed else ["_record", "wake_at"]},
        ],
    )


def release(records: Sequence[Release]) -> Move:
    """Give held jobs back, due again later; a give-back at shutdown spends a release."""
    position = _position(records)
    own = [
        {
            "due_in": _milliseconds(record.due_in),
            "failures": record.failures,
            "target": record.target,
            "releases": int(record.given_back),
        }
        for record in records
    ]
    return Move(
        filter=_held(records, position),
        update=[
            _own(records, own, position),
            {
                "$set": {
                    "status": Status.PENDING.value,
                    "wake_at": _until("$_record.due_in"),
                    "failures": "$_record.failures",
                    "target": "$_record.target",
                    "releases": {"$add": [_spent("releases"), "$_record.releases"]},
                    **_with_notes(records),
                }
            },
            {"$unset": ["_record"]},
        ],
    )


def overdue(max_crashes: int) -> Filter:
    """Who may be expired: held by nobody, and past the deadline or out of crashes."""
    out_of_crashes = {"$and": [_LEASE_OVER, {"$gte": [_spent("crashes"), max_crashes - 1]}]}
    return {
        "status": {"$in": LIVE},
        "wake_at": {"$exists": True},
        "$expr": {"$and": [_DUE, {"$or": [{"$lte": ["$deadline_at", "$$NOW"]}, out_of_crashes]}]},
    }


def expire(job_id: UUID, ending: Ending, max_crashes: int, result_ttl: int, body: dict[str, Any]) -> Move:
    """Fail an overdue job that nobody holds. The lease goes, so that its late holder learns that he lost."""
    return Move(
        filter={"_id": job_id, **overdue(max_crashes)},
        update=[
            {
                "$set": {
                    "status": Status.FAILED.value,
                    "status_code": ending.status_code,
                    "completed_at": "$$NOW",
                    "expires_at": {"$add": ["$$NOW", result_ttl * 1000]},
                    "error": _literal(body),
                    "crashes": {"$add": [_spent("crashes"), {"$cond": [_LEASE_OVER, 1, 0]}]},
                }
            },
            {"$unset": ["wake_at", "lease"]},
        ],
    )
