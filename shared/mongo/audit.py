"""What the database itself says about its jobs: their states, and how often each one ended. For drills and tests."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any, NoReturn
from uuid import UUID

from pymongo.errors import OperationFailure, PyMongoError

from shared.mongo.client import Database, unavailable

_ENDED = ("completed", "failed")
_RETRY_SECONDS = 0.5
_FORGOTTEN = (280, 286)
"""Errors of a database that does not know the change after which to go on."""

log = logging.getLogger(__name__)


async def statuses(database: Database) -> dict[UUID, str]:
    """The state of every stored job."""
    with unavailable("reading all jobs"):
        documents = await database.jobs.find({}, {"status": True}).to_list()
    return {document["_id"]: document["status"] for document in documents}


async def watch_endings(database: Database, counts: Counter[UUID]) -> NoReturn:
    """Count each job's ways to an ended state as a majority learns of them, for ever and through elections.

    Unlike the log of changes (the oplog) this has no length, and outlives the member that it is read from. A database
    that cannot go on where it was, for it was emptied, is watched from then on: what it forgot is not counted.
    """
    wanted: list[Mapping[str, Any]] = [
        {"$match": {"operationType": "update", "updateDescription.updatedFields.status": {"$in": _ENDED}}},
        {"$project": {"documentKey._id": 1}},
    ]
    after: Mapping[str, Any] | None = None
    while True:
        try:
            async with await database.jobs.watch(wanted, resume_after=after, max_await_time_ms=500) as changes:
                while True:
                    change = await changes.try_next()
                    if change is not None:
                        counts[change["documentKey"]["_id"]] += 1
                    after = changes.resume_token or after
        except OperationFailure as error:
            if error.code in _FORGOTTEN:
                after = None
            log.info("watching the ends of jobs: error %s", error.code)
        except PyMongoError as error:
            log.info("watching the ends of jobs: %s", type(error).__name__)
        await asyncio.sleep(_RETRY_SECONDS)
