"""Stored jobs that cannot be read are set aside: failed with a reason, counted, kept for a day."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from pymongo.errors import BulkWriteError, ExecutionTimeout, OperationFailure, WriteConcernError, WriteError

from shared.domain.errors import StoreUnavailable, Unreadable
from shared.mongo.connection.client import Database, Document
from shared.mongo.documents import claim_rules, codec, transitions
from shared.mongo.documents.layout import StoredJob, checked
from shared.telemetry.metrics import JOBS_SET_ASIDE

_MAX_LINES = 20  # of the log for one batch
_ERROR = {
    "is_bifrost_error": False,
    "status_code": 500,
    "error": {"type": "bifrost_internal", "message": "the stored job could not be read: submit it again"},
    "extra_fields": {},
}
BODY = codec.encode_body(msgspec.json.encode(_ERROR))
Decoded = TypeVar("Decoded")
Problems = Sequence[tuple[Any, Unreadable]]
"""Each by the id of its document as stored, which may be anything, objects too: no key of a dictionary."""
log = logging.getLogger(__name__)


class SetAside:
    """Every verb raises StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._plain = database.jobs.with_options(codec_options=codec.PLAIN_CODEC)

    async def jobs(self, found: Problems, lease: UUID | None = None) -> int:
        """Set these aside, by their ids as stored: held under that lease, or else by nobody. How many it were."""
        if not found:
            return 0
        transition = transitions.set_aside([stored for stored, _ in found], BODY, lease)
        with self._db.bounded("setting jobs aside"):
            count = (await self._db.jobs.update_many(transition.filter, transition.update)).modified_count
        JOBS_SET_ASIDE.inc(count)
        for job_id, error in found[:_MAX_LINES]:
            log.error("job %s cannot be read: %s", codec.id_text(job_id), error)
        log.error("%d jobs that cannot be read were set aside", count)
        return count

    async def refused(self, ids: Sequence[UUID], lease: UUID | None = None) -> bool:
        """Set aside those that cannot be read of jobs that the database refuses to change, as a full disk does, too."""
        with self._db.bounded("looking at refused jobs"):
            which = {"_id": {"$in": [codec.binary(each) for each in ids]}, "v": claim_rules.not_newer()}
            documents = await self._plain.find(which, {"result": False}).to_list()
        _, problems = sorted_out(documents, lambda document: checked(document, StoredJob))
        return await self.jobs(problems, lease) > 0

    async def strays(self) -> int:
        """Set aside what no query for due or overdue jobs finds; how many it were."""
        count = 0
        for transition in transitions.set_strays_aside(BODY):
            with self._db.bounded("setting strays aside"):
                update = await self._db.jobs.update_many(transition.filter, transition.update, hint=transition.index)
            count += update.modified_count
        if count:
            JOBS_SET_ASIDE.inc(count)
            log.error("%d live jobs without a usable id, state, time to wake or deadline were set aside", count)
        return count


def sorted_out(documents: Iterable[Document], decode: Callable[[Document], Decoded]) -> tuple[list[Decoded], Problems]:
    """Documents as decoded, and the problems of the others."""
    decoded, problems = [], []
    for document in documents:
        try:
            decoded.append(decode(document))
        except Unreadable as error:
            problems.append((document["_id"], error))
    return decoded, problems


def about_one_job(error: StoreUnavailable) -> bool:
    """Whether the database refused to change some document. A missing majority concerns the whole batch."""
    cause = error.__cause__
    if isinstance(cause, BulkWriteError):
        details = cause.details or {}
        return bool(details.get("writeErrors")) and not details.get("writeConcernErrors")
    return isinstance(cause, WriteError)


def perhaps_about_one_job(error: StoreUnavailable) -> bool:
    """The same for a claim, which tells a refusal in several ways."""
    cause = error.__cause__
    return isinstance(cause, OperationFailure) and not isinstance(cause, WriteConcernError | ExecutionTimeout)
