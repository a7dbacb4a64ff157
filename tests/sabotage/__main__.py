"""`python -m tests.sabotage WHAT edge|worker|keeper ...`: a component without one protection."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from pymongo import WriteConcern
from pymongo.asynchronous.collection import AsyncCollection

from coatcheck.cli.main import main
from shared.mongo import moves

ALWAYS: dict[str, Any] = {}


def without_fencing() -> None:
    """Records and renewals match without the lease and whatever the job's state is."""
    moves._held = lambda job_id, lease: {"_id": job_id}
    renew = moves.renew

    def unfenced(*arguments: Any) -> moves.Move:
        move = renew(*arguments)
        return replace(move, filter={"_id": move.filter["_id"]})

    moves.renew = unfenced


def without_sweep() -> None:
    """Workers claim only what is rung."""

    from workers.fleet.fleet import Fleet  # noqa: PLC0415 - an edge first chooses where its metrics go

    async def never(_fleet: Fleet) -> None:
        await asyncio.Event().wait()

    Fleet.sweep = never  # type: ignore[method-assign]


def without_majority_writes() -> None:
    """A submit is acknowledged by the primary alone."""
    insert_many = AsyncCollection.insert_many

    def unsafe(self: AsyncCollection[Any], *arguments: Any, **options: Any) -> Any:
        return insert_many(self.with_options(write_concern=WriteConcern(w=1)), *arguments, **options)

    AsyncCollection.insert_many = unsafe  # type: ignore[method-assign]


def without_due_time() -> None:
    """Who is rung is claimed, due or not, held or not."""
    moves._DUE = ALWAYS


SABOTAGE: Mapping[str, Callable[[], None]] = {
    each.__name__: each for each in (without_fencing, without_sweep, without_majority_writes, without_due_time)
}

if __name__ == "__main__":
    SABOTAGE[sys.argv[1]]()
    main(sys.argv[2:])
