"""Every change of a stored job, a constructor for each; nothing else builds one.

Updates are pipelines, so that times come from the database's clock (`$$NOW`); therefore every value that comes from
outside is wrapped in `$literal`: a string that begins with `$` is evaluated.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from bson.binary import Binary

from shared.domain.job import ENDED, LIVE, AttemptRecord, ExpiryResult, Finish, Record, Release, Status
from shared.mongo.documents import claim_rules
from shared.mongo.documents.claim_rules import Filter
from shared.mongo.documents.codec import binary
from shared.telemetry.redaction import plain

MAX_NOTE_CHARACTERS = 256
MAX_NOTES = 20
"""Attempts kept in a job's history; the oldest are dropped."""
_OF_THE_CLAIM = {"due": "$lease.due", "claimed": "$lease.at", "source": "$lease.source", "recorded": "$$NOW"}
SET_ASIDE_SECONDS = 24 * 3600
"""How long a job that cannot be read is kept, so that the cause can be found."""
_CRASHED_BEFORE = {"$or": [claim_rules.LEASE_OVER, "$lease.crashed_before"]}


@dataclass(frozen=True, slots=True)
class Transition:
    """Which jobs match, how they change, and the index that must find them, if one must."""

    filter: Filter
    update: list[dict[str, Any]]
    index: str | None = None


def _binaries(ids: Collection[UUID]) -> list[Binary]:
    return [binary(each) for each in ids]


def _spent(field: str) -> dict[str, Any]:
    return {"$ifNull": [f"${field}", 0]}


def _until(milliseconds: int | str) -> dict[str, Any]:
    return {"$min": [{"$add": ["$$NOW", milliseconds]}, "$deadline_at"]}


def _storable(note: AttemptRecord) -> dict[str, Any]:
    """A provider chooses some of these texts: one that BSON cannot hold would fail the whole batch of outcomes."""
    return {
        "worker": plain(note.worker[:MAX_NOTE_CHARACTERS]),
        "provider": plain(note.provider[:MAX_NOTE_CHARACTERS]),
        "outcome": plain(note.outcome[:MAX_NOTE_CHARACTERS]),
        "milliseconds": note.milliseconds,
        "upstream_request_id": plain(note.upstream_request_id[:MAX_NOTE_CHARACTERS]),
    }


def _with_notes(records: Sequence[Record]) -> dict[str, Any]:
    """The history with these calls, each with what _OF_THE_CLAIM tells of its claim."""
    if not any(record.notes for record in records):
        return {}
    added = {"$map": {"input": "$_record.notes", "as": "note", "in": {"$mergeObjects": ["$$note", _OF_THE_CLAIM]}}}
    kept = {"$slice": [{"$concatArrays": [{"$ifNull": ["$attempts", []]}, added]}, -MAX_NOTES]}
    return {"attempts": kept}


def claim(
    ids: Sequence[UUID], lease: UUID, worker: str, seconds: float, max_crashes: int, *, suspects: bool, source: str = ""
) -> Transition:
    """Take due jobs: pending ones, and running ones whose lease is over, which spends a crash if a call had begun.

    `$set` keeps what it does not name: each field of the former lease is replaced or removed. `began` is unknown under
    the first lease and known from the first takeover on, when the worker says so before each call.
    """
    changed = {
        "status": Status.PROCESSING.value,
        "claims": {"$add": [_spent("claims"), 1]},
        "crashes": claim_rules.WITH_THIS_CRASH,
        "lease": {
            "id": binary(lease),
            "worker": {"$literal": worker},
            "due": "$wake_at",
            "at": "$$NOW",
            "taken_over": claim_rules.LEASE_OVER,
            "repeats": claim_rules.CALLED,
            "crashed_before": {"$cond": [_CRASHED_BEFORE, True, "$$REMOVE"]},
            "began": {"$cond": [_CRASHED_BEFORE, False, "$$REMOVE"]},
            **({"source": {"$literal": source}} if source else {}),
        },
        "wake_at": _until(round(seconds * 1000)),
    }
    return Transition(
        {"_id": {"$in": _binaries(ids)}, **claim_rules.claimable(max_crashes, suspects=suspects)},
        [{"$set": changed}],
    )


def _position(records: Sequence[Record]) -> dict[str, Any]:
    """Which record is of a job under the lease that it has now; -1: none."""
    pairs = [[binary(record.job_id), binary(record.lease)] for record in records]
    return {"$indexOfArray": [{"$literal": pairs}, ["$_id", "$lease.id"]]}


def _held(records: Sequence[Record], position: dict[str, Any]) -> Filter:
    return {
        "_id": {"$in": [binary(record.job_id) for record in records]},
        "status": Status.PROCESSING.value,
        "$expr": {"$gte": [position, 0]},
    }


def _recorded(
    records: Sequence[Record], own: Sequence[dict[str, Any]], changed: dict[str, Any], *gone: str
) -> Transition:
    """Change all held jobs in one statement, half the work of one each. `own`: values of each, for it in `$_record`."""
    position = _position(records)
    noted = [
        {**value, "notes": [_storable(note) for note in record.notes[-MAX_NOTES:]]}
        for record, value in zip(records, own, strict=True)
    ]
    told = {"$set": {"_record": {"$arrayElemAt": [{"$literal": noted}, position]}}}
    update: list[dict[str, Any]] = [told, {"$set": {**changed, **_with_notes(records)}}, {"$unset": ["_record", *gone]}]
    return Transition(_held(records, position), update)


def renew(
    ids: Sequence[UUID], leases: Sequence[UUID], seconds: float, began: Collection[UUID] | None = None
) -> Transition:
    """Extend what is held under `leases`. `began`: of which of `ids` a provider call has begun; None says nothing."""
    held = {
        "_id": {"$in": _binaries(ids)},
        "lease.id": {"$in": _binaries(leases)},
        "status": Status.PROCESSING.value,
        "$expr": claim_rules.IN_TIME,
    }
    changed: dict[str, Any] = {"wake_at": _until(round(seconds * 1000))}
    if began is not None:
        changed["lease.began"] = {"$in": ["$_id", {"$literal": _binaries(began)}]}
    return Transition(held, [{"$set": changed}])


def finish(records: Sequence[Finish], bodies: Sequence[dict[str, Any]]) -> Transition:
    """End held jobs, all with the same status; `bodies` as stored. A failed job keeps its request to be requeued.

    The lease stays, so that a second try can tell "already mine" from "lost".
    """
    completed = records[0].status is Status.COMPLETED
    own = [
        {"status_code": record.status_code, "ttl": record.result_ttl * 1000, "body": body}
        for record, body in zip(records, bodies, strict=True)
    ]
    changed = {
        "status": records[0].status.value,
        "status_code": "$_record.status_code",
        "completed_at": "$$NOW",
        "expires_at": {"$add": ["$$NOW", "$_record.ttl"]},
        "result" if completed else "error": "$_record.body",
    }
    return _recorded(records, own, changed, "wake_at", *(["request"] if completed else []))


def release(records: Sequence[Release]) -> Transition:
    """Give held jobs back, due again later; a give-back at shutdown spends a release."""
    own = [
        {
            "due_in": round(record.due_in * 1000),
            "failures": record.failures,
            "target": record.target,
            "releases": int(record.given_back),
        }
        for record in records
    ]
    changed = {
        "status": Status.PENDING.value,
        "wake_at": _until("$_record.due_in"),
        "failures": "$_record.failures",
        "target": "$_record.target",
        "releases": {"$add": [_spent("releases"), "$_record.releases"]},
    }
    return _recorded(records, own, changed)


def expire(job_id: UUID, ending: ExpiryResult, max_crashes: int, result_ttl: int, body: dict[str, Any]) -> Transition:
    """Fail an overdue job without a live lease. The lease is removed, so that its late holder learns of it."""
    update = _failed(ending.status_code, result_ttl, body, crashes=claim_rules.WITH_THIS_CRASH)
    return Transition({"_id": job_id, **claim_rules.overdue(max_crashes)}, update)


def requeued(job_id: UUID, copy_id: UUID, former: Any = None) -> Transition:
    """Note on a failed job the id of its last copy in place of `former`, as stored. All else stays as it ended."""
    which = {"_id": binary(job_id), "status": Status.FAILED.value, "requeued_as": {"$eq": former}}
    return Transition(which, [{"$set": {"requeued_as": binary(copy_id)}}])


def set_aside(ids: Sequence[Any], body: dict[str, Any], lease: UUID | None = None) -> Transition:
    """Fail live jobs that cannot be read, by their ids as stored: under that lease, or else held by nobody."""
    if lease is None:
        free = {"$or": [claim_rules.DUE, claim_rules.LATE]}
        whose: Filter = {"status": {"$nin": ENDED}, "wake_at": {"$exists": True}, "$expr": free}
    else:
        whose = {"status": Status.PROCESSING.value, "lease.id": binary(lease)}
    return Transition({"_id": {"$in": list(ids)}, "v": claim_rules.not_newer(), **whose}, _failed_unread(body))


def set_strays_aside(body: dict[str, Any]) -> list[Transition]:
    """Fail live jobs that no query for due or overdue ones finds, unread."""
    # Bounded on both sides of all dates, as a $type is not: the index then leads to these alone.
    no_deadline: Filter = {"deadline_at": {"$not": {"$gte": datetime.min}}}
    odd = {
        "_id": {"$not": {"$type": "binData"}},
        "status": {"$nin": LIVE},
        "wake_at": {"$not": {"$type": "date"}},
    }
    late: Filter = {"$expr": claim_rules.LATE}
    odd_and_late: Filter = {**late, "$or": [{name: odd[name]} for name in odd]}
    ours: Filter = {"v": claim_rules.not_newer()}
    live: list[Filter] = [{"status": {"$nin": ENDED}}, {**ours, "wake_at": {"$exists": True}}]
    failed = _failed_unread(body)
    return [
        *(Transition({"$and": [*live, which]}, failed, "deadline") for which in (no_deadline, odd_and_late)),
        Transition({**claim_rules.UNWAKEABLE, **ours, "$or": [no_deadline, late]}, failed, "unwakeable"),
    ]


def _failed_unread(body: dict[str, Any]) -> list[dict[str, Any]]:
    return _failed(500, SET_ASIDE_SECONDS, body, set_aside=True)


def _failed(status_code: int, kept: int, body: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    ended = {
        "status": Status.FAILED.value,
        "status_code": status_code,
        "completed_at": "$$NOW",
        "expires_at": {"$add": ["$$NOW", kept * 1000]},
        "error": {"$literal": body},
        **more,
    }
    return [{"$set": ended}, {"$unset": ["wake_at", "lease"]}]
