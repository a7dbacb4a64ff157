"""`coatcheck job`: what happened to a job."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

import click

from coatcheck.cli.database import ask
from coatcheck.cli.options import JobId, as_json, load
from coatcheck.cli.output import json_line, moment, result
from coatcheck.status.timeline import Timeline, paused_of, timeline
from shared.domain.errors import CoatcheckError
from shared.mongo.connection.client import Database
from shared.mongo.mongo_store import MongoStore
from shared.mongo.operator_store import OperatorStore


@click.command()
@click.argument("job_id", type=JobId(), metavar="ID")
@as_json
def job(job_id: UUID, as_json: bool) -> None:
    """Show what the database knows of a job: accepted, claims with a call, attempts, ended. Never its bodies.

    Of claims that led to no call, for a model was paused, only the number is kept.
    """

    async def look(database: Database) -> dict[str, Any] | None:
        history = await OperatorStore(database).history(job_id)
        if history is None:
            return None
        paused = {pause.channel: pause.seconds for pause in await MongoStore(database, settings).pauses()}
        return history | {"now": database.now(), "paused": paused_of(history, paused)}

    settings = load()
    history = ask(settings, look)
    if history is None:
        raise CoatcheckError(f"job {job_id} is unknown or expired")
    if as_json:
        json_line(history)
    else:
        result("\n".join(f"{label:<10} {text}" for label, text in _story(history)))


def _story(history: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The history as lines; times after the first are seconds from it."""
    accepted = history["created_at"]

    def after(name: str, start: datetime = accepted, source: dict[str, Any] = history) -> str:
        return f"{(source[name] - start).total_seconds():+.3f} s"

    yield "job", f"{history['id']}  {history['status']}  {history['type']}  {' then '.join(history['targets'])}"
    if "key_id" in history:
        yield "key", history["key_id"]
    yield "request", f"{history.get('request_id', '')}  {_size(history, 'request_bytes')}"
    yield "accepted", f"{moment(accepted)}  deadline {after('deadline_at')}"
    told = timeline(history, history["now"])
    yield from _steps(told, history)
    yield "went to", "  ".join(f"{name} {seconds:.3f} s" for name, seconds in told.spent.items())
    yield "spent", "  ".join(f"{name} {history[name]}" for name in ("failures", "crashes", "releases"))
    if "wake_at" in history:
        yield "next", f"{after('wake_at')}  {'lease ends' if history['status'] == 'processing' else 'due'}"
    for channel, seconds in history["paused"].items():
        yield "paused", f"{channel} for {seconds:.0f} s more"
    if "completed_at" in history:
        yield "ended", f"{after('completed_at')}  {history.get('status_code', '')}  {_size(history, 'result_bytes')}"
    if "error" in history:
        yield "error", history["error"]
    if "requeued_as" in history:
        yield "requeued", f"as {history['requeued_as']}"
    if "expires_at" in history:
        yield "kept until", moment(history["expires_at"])


def _steps(told: Timeline, history: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for step in told.steps:
        if step.kind in ("waited", "claimed", "call", "recorded"):
            took = f"  {step.seconds * 1000:.0f} ms" if step.kind != "claimed" else ""
            yield step.kind, f"{step.at:+.3f} s{took}  {step.text}"
    if told.untold:
        yield "claims", f"{history['claims']}, {told.untold}"


def _size(history: dict[str, Any], name: str) -> str:
    return f"{history[name]} bytes" if name in history else ""
