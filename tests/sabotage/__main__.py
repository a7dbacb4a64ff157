"""`python -m tests.sabotage WHAT edge|worker|keeper ...`: a component without one protection."""

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
from shared.job import Record
from shared.mongo import moves

ALWAYS: dict[str, Any] = {}
_PATIENCE_SECONDS = 1.5


def without_fencing() -> None:
    """Records and renewals match without the lease and whatever the job's state is."""
    moves._held = lambda records, position: {"_id": {"$in": _ids(records)}}
    moves._position = lambda records: {"$indexOfArray": [{"$literal": _ids(records)}, "$_id"]}
    renew = moves.renew

    def unfenced(*arguments: Any) -> moves.Move:
        move = renew(*arguments)
        return replace(move, filter={"_id": move.filter["_id"]})

    vars(moves)["renew"] = unfenced


def _ids(records: Sequence[Record]) -> list[UUID]:
    return [record.job_id for record in records]


def without_sweep() -> None:
    """Workers claim only what is rung."""

    from workers.fleet.fleet import Fleet  # noqa: PLC0415 - an edge first chooses where its metrics go

    async def never(_fleet: Fleet) -> None:
        await asyncio.Event().wait()

    Fleet.sweep = never  # type: ignore[method-assign, assignment]


def without_majority_writes() -> None:
    """A submit is acknowledged by the primary alone."""
    insert_many = AsyncCollection.insert_many

    def unsafe(self: AsyncCollection[Any], *arguments: Any, **options: Any) -> Any:
        return insert_many(self.with_options(write_concern=WriteConcern(w=1)), *arguments, **options)

    AsyncCollection.insert_many = unsafe  # type: ignore[method-assign]


def without_due_time() -> None:
    """Who is rung is claimed, due or not, held or not."""
    moves._DUE = ALWAYS


def without_majority_reads() -> None:
    """Polls see what the member they ask has, known to a majority or not."""
    find = AsyncCollection.find

    def unsure(self: AsyncCollection[Any], *arguments: Any, **options: Any) -> Any:
        return find(self.with_options(read_concern=ReadConcern("local")), *arguments, **options)

    AsyncCollection.find = unsure  # type: ignore[method-assign]


def dies_while_recording() -> None:
    """No protection less, but a worker that dies at the worst moment: when a record waits for its majority."""

    from shared.mongo.fleet_store import FleetVerbs  # noqa: PLC0415 - as above

    record = FleetVerbs.record

    async def last(self: FleetVerbs, records: Sequence[Record]) -> Any:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await record(self, records)
        except TimeoutError:
            os.kill(os.getpid(), signal.SIGKILL)

    FleetVerbs.record = last  # type: ignore[method-assign]


SABOTAGE: Mapping[str, Callable[[], None]] = {
    each.__name__: each
    for each in (
        without_fencing,
        without_sweep,
        without_majority_writes,
        without_due_time,
        without_majority_reads,
        dies_while_recording,
    )
}

if __name__ == "__main__":
    SABOTAGE[sys.argv[1]]()
    main(sys.argv[2:])
