"""The history of a job as steps in time, and where its time went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

Kind = Literal["accepted", "waited", "claimed", "call", "recorded", "ended", "next"]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """`at` is in seconds from the acceptance, `seconds` how long it took, 0 for a moment. `good`: how it came out."""

    kind: Kind
    at: float
    text: str
    seconds: float = 0.0
    good: bool | None = None


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """All steps in order; and seconds by what they were spent on, which add up to the time until `until`."""

    steps: list[Step]
    spent: dict[str, float]
    until: float


def timeline(history: Mapping[str, Any], now: datetime) -> Timeline:
    """Tell what happened from what is stored. Claims without a provider call leave no trace but their number."""
    accepted: datetime = history["created_at"]
    ended: datetime | None = history.get("completed_at")
    until = max(0.0, ((ended or now) - accepted).total_seconds())
    steps = [Step(kind="accepted", at=0.0, text=f"accepted as {history['type']}")]
    for claim in _claims(history):
        steps += _steps_of(claim, accepted, until)
    steps += _last(history, accepted, until)
    return Timeline(steps=steps, spent=_spent(steps, until), until=round(until, 3))


def _claims(history: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Each claim with its calls. The last one is known even without calls."""
    claims: dict[Any, dict[str, Any]] = {}
    for call in history["attempts"]:
        key = call.get("claimed")
        claim = claims.setdefault(
            key,
            {"at": key, "due": call.get("due"), "source": call.get("source"), "worker": call["worker"], "calls": []},
        )
        claim["calls"].append(call)
        claim["recorded"] = call.get("recorded")
    last = history.get("last_claim")
    if last and last["at"] not in claims:
        claims[last["at"]] = {**last, "calls": []}
    yield from claims.values()


def _steps_of(claim: Mapping[str, Any], accepted: datetime, until: float) -> Iterator[Step]:
    at = _offset(claim["at"], accepted)
    if at is None:  # written by a version that did not note times
        for call in claim["calls"]:
            yield _call(call, until)
        return
    due = max(0.0, _offset(claim.get("due"), accepted) or 0.0)
    # A retry is taken up by the worker that put it back, as if a bell had come; the sweep finds what was forgotten.
    rung = "a bell led to it" if due == 0 else "taken up again on time"
    found = {"rung": rung, "swept": "the sweep found it"}.get(claim.get("source") or "", "found")
    yield Step(kind="waited", at=due, seconds=round(max(0.0, at - due), 3), text="due, waited for a worker")
    over = ", taken over: the lease before it ran out" if claim.get("taken_over") else ""
    yield Step(kind="claimed", at=at, text=f"claimed by {claim['worker']}, {found}{over}")
    moment = at
    recorded = _offset(claim.get("recorded"), accepted)
    calls = sum(call["milliseconds"] for call in claim["calls"]) / 1000
    if recorded is not None:
        moment = max(at, min(moment, recorded - calls))
    for call in claim["calls"]:
        yield _call(call, moment)
        moment += call["milliseconds"] / 1000
    if recorded is not None:
        took = round(max(0.0, recorded - moment), 3)
        yield Step(kind="recorded", at=round(moment, 3), seconds=took, text="outcome recorded")


def _call(call: Mapping[str, Any], at: float) -> Step:
    upstream = call.get("upstream_request_id")
    return Step(
        kind="call",
        at=round(at, 3),
        seconds=call["milliseconds"] / 1000,
        text=f"{call['provider']} answered {call['outcome']}" + (f", its request {upstream}" if upstream else ""),
        good=call["outcome"] == "200",
    )


def _last(history: Mapping[str, Any], accepted: datetime, until: float) -> Iterator[Step]:
    status = history["status"]
    if status in ("completed", "failed"):
        code = history.get("status_code", "")
        yield Step(kind="ended", at=round(until, 3), text=f"{status} with {code}", good=status == "completed")
    elif (wake := _offset(history.get("wake_at"), accepted)) is not None:
        text = "the lease ends unless it is renewed" if status == "processing" else "due"
        yield Step(kind="next", at=max(0.0, wake), text=text)


def _spent(steps: list[Step], until: float) -> dict[str, float]:
    waiting = sum(step.seconds for step in steps if step.kind == "waited")
    calls = sum(step.seconds for step in steps if step.kind == "call")
    recording = sum(step.seconds for step in steps if step.kind == "recorded")
    rest = max(0.0, until - waiting - calls - recording)
    spent = {
        "waiting for a worker": waiting,
        "in the provider": calls,
        "recording": recording,
        "between attempts": rest,
    }
    return {name: round(seconds, 3) for name, seconds in spent.items() if seconds >= 0.0005}


def _offset(moment: datetime | None, accepted: datetime) -> float | None:
    return None if moment is None else round((moment - accepted) / timedelta(seconds=1), 3)
