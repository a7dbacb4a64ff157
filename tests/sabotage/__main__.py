"""`python -m tests.sabotage WHAT edge|worker|reaper ...`: a component without one protection."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from pymongo import WriteConcern
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.read_concern import ReadConcern

from coatcheck.cli.main import main
from shared.domain.job import Finish, Record
from shared.mongo.documents import claim_rules, transitions
from tests.sabotage.edge import (
    without_expiry_filter,
    without_idempotency,
    without_idempotency_fingerprint,
    without_key_check,
    without_waiting_for_the_write,
)
from tests.sabotage.endings import without_end_of_answers, without_failure_budget, without_ttl
from tests.sabotage.transitions import (
    without_fencing_of_outcomes,
    without_fencing_of_releases,
    without_fencing_of_renewals,
)

ALWAYS: dict[str, Any] = {}
_PATIENCE_SECONDS = 1.5


def without_fencing() -> None:
    """Records and renewals match without the lease and whatever the job's state is."""
    transitions._held = lambda records, position: {"_id": {"$in": _ids(records)}}
    transitions._position = lambda records: {"$indexOfArray": [{"$literal": _ids(records)}, "$_id"]}
    renew = transitions.renew

    def unfenced(*arguments: Any) -> transitions.Transition:
        transition = renew(*arguments)
        return replace(transition, filter={"_id": transition.filter["_id"]})

    vars(transitions)["renew"] = unfenced


def _ids(records: Sequence[Record]) -> list[UUID]:
    return [record.job_id for record in records]


def without_sweep() -> None:
    """Workers claim only what is notified."""

    from workers.execution.executor import Executor  # noqa: PLC0415 - an edge first chooses where its metrics go

    async def never(_fleet: Executor) -> None:
        await asyncio.Event().wait()

    Executor.sweep = never  # type: ignore[method-assign, assignment]


def without_majority_writes() -> None:
    """A submit is acknowledged by the primary alone."""
    insert_many = AsyncCollection.insert_many

    def unsafe(self: AsyncCollection[Any], *arguments: Any, **options: Any) -> Any:
        return insert_many(self.with_options(write_concern=WriteConcern(w=1)), *arguments, **options)

    AsyncCollection.insert_many = unsafe  # type: ignore[method-assign]


def without_due_time() -> None:
    """Who is notified is claimed, due or not, held or not."""
    claim_rules.DUE = ALWAYS


def without_majority_reads() -> None:
    """Polls see what the member they ask has, known to a majority or not."""
    find = AsyncCollection.find

    def unsure(self: AsyncCollection[Any], *arguments: Any, **options: Any) -> Any:
        return find(self.with_options(read_concern=ReadConcern("local")), *arguments, **options)

    AsyncCollection.find = unsure  # type: ignore[method-assign]


def dies_while_recording() -> None:
    """No protection less, but a worker that dies at the worst moment: when a record waits for its majority."""

    from shared.mongo.worker_store import MongoWorkerStore  # noqa: PLC0415 - as above

    record = MongoWorkerStore.record

    async def last(self: MongoWorkerStore, records: Sequence[Record]) -> Any:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await record(self, records)
        except TimeoutError:
            os.kill(os.getpid(), signal.SIGKILL)

    MongoWorkerStore.record = last  # type: ignore[method-assign]


def exchanged_bodies() -> None:
    """Each job of a batch of results gets the body of the one before it."""
    finish = transitions.finish

    def rotated(records: Sequence[Finish], bodies: Sequence[dict[str, Any]]) -> transitions.Transition:
        return finish(records, [*bodies[-1:], *bodies[:-1]])

    vars(transitions)["finish"] = rotated


SABOTAGE: Mapping[str, Callable[[], None]] = {
    each.__name__: each
    for each in (
        without_fencing,
        without_sweep,
        without_majority_writes,
        without_due_time,
        without_majority_reads,
        dies_while_recording,
        exchanged_bodies,
        without_fencing_of_renewals,
        without_fencing_of_outcomes,
        without_fencing_of_releases,
        without_idempotency,
        without_idempotency_fingerprint,
        without_expiry_filter,
        without_key_check,
        without_ttl,
        without_waiting_for_the_write,
        without_end_of_answers,
        without_failure_budget,
    )
}

if __name__ == "__main__":
    SABOTAGE[sys.argv[1]]()
    main(sys.argv[2:])
