"""What the database itself says about its jobs, for drills and tests."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn
from uuid import UUID

from pymongo.errors import OperationFailure, PyMongoError

from shared.domain.job import ENDED, LIVE, PayloadRef, Status
from shared.mongo.connection.client import Database, unavailable
from shared.mongo.documents import codec, payloads

_RETRY_SECONDS = 0.5
_FORGOTTEN = (280, 286)  # errors: the change after which to go on is not known
_BODIES = ("request", "result", "error")
_WHERE = dict.fromkeys(
    ["status", "expires_at", *(f"{body}.{part}" for body in _BODIES for part in ("payload", "chunks"))], True
)
_OF_THE_ENDED = ("completed_at", "expires_at")
UNOWNED_SECONDS = 1020.0
"""After so long reapers have found a chunk that a killed process left: they wait for 900 s, and look in turn."""
TTL_SECONDS = 120.0
"""How late the database may delete what has expired: it looks once a minute."""
log = logging.getLogger(__name__)


async def statuses(database: Database) -> dict[UUID, str]:
    """Of every stored job; an empty text for one that has none."""
    with unavailable("reading all jobs"):
        documents = await database.jobs.find({}, {"status": True}).to_list()
    return {each["_id"]: str(each.get("status", "")) for each in documents if isinstance(each["_id"], UUID)}


async def answers(database: Database) -> AsyncIterator[tuple[UUID, Status, bytes]]:
    """The stored body of every job that has ended, but those whose chunks are gone, which `orphans` names."""
    with unavailable("reading all answers"):
        async for document in database.jobs.find({"status": {"$in": ENDED}}, {"status": 1, "result": 1, "error": 1}):
            body = codec.decode_body(document.get("result") or document["error"])
            try:
                data = await payloads.read_all(database, body) if isinstance(body, PayloadRef) else body
            except LookupError:
                continue
            yield document["_id"], Status(document["status"]), data


@dataclass(frozen=True, slots=True)
class Orphans:
    """Chunks that no job points to and jobs whose chunks are gone, a line each; `young`: reapers may not know yet."""

    old: Sequence[str]
    young: Sequence[str]


async def orphans(database: Database) -> Orphans:
    """Who is without whom at this moment. What the database will delete within TTL_SECONDS counts as deleted."""
    now = database.now()
    with unavailable("reading all chunks"):
        listed = database.payloads.find({}, {"written_at": True, "expires_at": True})
        chunks = {(each["_id"]["payload"], each["_id"]["n"]): each async for each in listed}
        wanted = {
            (body["payload"], number): f"the {name} of job {job['_id']} ({job['status']})"
            async for job in database.jobs.find({}, _WHERE)
            if job.get("expires_at", now) >= now
            for name in _BODIES
            if "payload" in (body := job.get(name) or {})
            for number in range(body["chunks"])
        }
    old = [f"chunk {key[1]} of {what} is gone" for key, what in wanted.items() if key not in chunks]
    young: list[str] = []
    for key in chunks.keys() - wanted.keys():
        left = (chunks[key]["expires_at"] - now).total_seconds()
        age = (now - chunks[key].get("written_at", now)).total_seconds()
        if left > TTL_SECONDS:
            (old if age > UNOWNED_SECONDS else young).append(f"chunk {key[1]} of {key[0]} has no job")
    return Orphans(old, young)


async def contradictions(database: Database) -> list[str]:
    """Jobs whose fields say both that they ended and that they did not, a line each."""
    ended, live = {"$in": ENDED}, {"$in": LIVE}
    wrong = [
        *({"status": ended, name: {"$exists": False}} for name in _OF_THE_ENDED),
        *({"status": live, name: {"$exists": True}} for name in _OF_THE_ENDED),
        {"status": ended, "wake_at": {"$exists": True}},
        {"status": live, "wake_at": {"$exists": False}},
    ]
    with unavailable("looking for contradictions"):
        fields = {"status": True, "wake_at": True, "completed_at": True}
        found = await database.jobs.find({"$or": wrong}, fields).to_list()
    return [f"job {each['_id']} is {each['status']} and has {', '.join(each)}" for each in found]


async def watch_endings(database: Database, counts: Counter[UUID]) -> NoReturn:
    """Count each job's ends as a majority learns of them, for ever, but not what an emptied database forgot.

    An end that is written over an equal one changes no status, but its time.
    """
    wanted: list[Mapping[str, Any]] = [
        {"$match": {"operationType": "update", "updateDescription.updatedFields.completed_at": {"$exists": True}}},
        {"$project": {"documentKey._id": 1}},
    ]
    after: Mapping[str, Any] | None = None
    while True:
        try:
            async with await database.jobs.watch(wanted, resume_after=after, max_await_time_ms=500) as changes:
                while True:
                    change = await changes.try_next()
                    if change is not None and isinstance(change["documentKey"]["_id"], UUID):
                        counts[change["documentKey"]["_id"]] += 1
                    after = changes.resume_token or after
        except OperationFailure as error:
            if error.code in _FORGOTTEN:
                after = None
            log.info("watching the ends of jobs: error %s", error.code)
        except PyMongoError as error:
            log.info("watching the ends of jobs: %s", type(error).__name__)
        await asyncio.sleep(_RETRY_SECONDS)
