"""The history of a job as steps in time, and where its time went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from shared.domain.job import ENDED, Status

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
    untold: str = ""
    """What is known of claims that are no steps: their number alone is stored."""


def timeline(history: Mapping[str, Any], now: datetime) -> Timeline:
    """Tell what happened from what is stored. Claims without a provider call leave no trace but their number."""
    accepted: datetime = history["created_at"]
    ended: datetime | None = history.get("completed_at")
    until = max(0.0, ((ended or now) - accepted).total_seconds())
    steps = [Step(kind="accepted", at=0.0, text=f"accepted as {history['type']}")]
    claims = _claims(history)
    for claim in claims:
        steps += _steps_of(claim, accepted, until)
    steps += _last(history, accepted, until)
    untold = _untold(history.get("claims", 0) - sum(claim["at"] is not None for claim in claims), history)
    return Timeline(steps=steps, spent=_spent(steps, until), until=round(until, 3), untold=untold)


def paused_of(history: Mapping[str, Any], paused: Mapping[str, float]) -> dict[str, float]:
    """The pauses that a waiting job waits for: of the models it asks for, or of their providers as a whole."""
    if history["status"] != "pending":
        return {}
    names = {name for target in history["targets"] for name in (target, target.partition("/")[0])}
    return {channel: seconds for channel, seconds in paused.items() if channel in names}


def _untold(count: int, history: Mapping[str, Any]) -> str:
    if count <= 0:
        return ""
    stopped = ", or its worker stopped or died" if history.get("crashes", 0) + history.get("releases", 0) else ""
    return f"{count} of them without a call that was noted: the providers were paused or had no free place{stopped}"


def _claims(history: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each claim with its calls. The last one is known even without calls."""
    claims: dict[Any, dict[str, Any]] = {}
    for call in history["attempts"]:
        key = call.get("claimed")
        claim = claims.setdefault(key, {**call, "at": key, "calls": []})
        claim["calls"].append(call)
        claim["recorded"] = call.get("recorded")
    last = history.get("last_claim")
    if last and last["at"] not in claims:
        claims[last["at"]] = {**last, "calls": []}
    return list(claims.values())


def _steps_of(claim: Mapping[str, Any], accepted: datetime, until: float) -> Iterator[Step]:
    at = _offset(claim["at"], accepted)
    if at is None:  # written by a version that did not note times
        for call in claim["calls"]:
            yield _call(call, until)
        return
    due = max(0.0, _offset(claim.get("due"), accepted) or 0.0)
    # A retry is taken up by the worker that put it back, as if notified; the sweep finds what was forgotten.
    notified = "a notification led to it" if due == 0 else "taken up again on time"
    found = {"notified": notified, "swept": "the sweep found it"}.get(claim.get("source") or "", "found")
    yield Step(kind="waited", at=due, seconds=round(max(0.0, at - due), 3), text="due, waited for a worker")
    over = ", taken over: the lease before it ran out" if claim.get("taken_over") else ""
    yield Step(kind="claimed", at=at, text=f"claimed by {claim['worker']}, {found}{over}")
    moment = at
    for call in claim["calls"]:
        yield _call(call, moment)
        moment += call["milliseconds"] / 1000
    if (recorded := _offset(claim.get("recorded"), accepted)) is not None:
        took = round(max(0.0, recorded - moment), 3)
        yield Step(kind="recorded", at=round(moment, 3), seconds=took, text="outcome recorded")


def _call(call: Mapping[str, Any], at: float) -> Step:
    took, outcome, upstream = call["milliseconds"] / 1000, call["outcome"], call.get("upstream_request_id")
    text = f"{call['provider']} answered {outcome}" + (f", its request {upstream}" if upstream else "")
    return Step(kind="call", at=round(at, 3), seconds=took, text=text, good=outcome == "200")


def _last(history: Mapping[str, Any], accepted: datetime, until: float) -> Iterator[Step]:
    status = history["status"]
    if status in ENDED:
        code = history.get("status_code", "")
        yield Step(kind="ended", at=round(until, 3), text=f"{status} with {code}", good=bool(Status(status).succeeded))
    elif (wake := _offset(history.get("wake_at"), accepted)) is not None:
        text = "the lease ends unless it is renewed" if status is Status.PROCESSING else "due"
        yield Step(kind="next", at=max(0.0, wake), text=text)


def _spent(steps: list[Step], until: float) -> dict[str, float]:
    kinds = {"waited": "waiting for a worker", "call": "in the provider", "recorded": "recording"}
    spent = {name: sum(step.seconds for step in steps if step.kind == kind) for kind, name in kinds.items()}
    spent["between attempts"] = max(0.0, until - sum(spent.values()))
    return {name: round(seconds, 3) for name, seconds in spent.items() if seconds >= 0.0005}


def _offset(moment: datetime | None, accepted: datetime) -> float | None:
    return None if moment is None else round((moment - accepted) / timedelta(seconds=1), 3)
