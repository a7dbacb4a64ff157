"""Runs the loops of one process: the first that ends takes the others down; a stop ends them all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any

from shared.admin import Health

Loop = Coroutine[Any, Any, None]

_BEAT_SECONDS = 1.0
_CANCEL_AGAIN_SECONDS = 0.2


async def until_stopped(loops: Sequence[Loop], stop: asyncio.Event) -> None:
    """Run endless loops until `stop` is set, then cancel them.

    Raises what ended a loop early: a process with a dead loop must not look alive.
    """
    tasks = [asyncio.ensure_future(loop) for loop in loops]
    stopped = asyncio.ensure_future(stop.wait())
    try:
        done, _ = await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await cancelled([stopped, *tasks])


@contextlib.asynccontextmanager
async def background(loop: Loop) -> AsyncIterator[None]:
    """Run a loop beside the block."""
    task = asyncio.ensure_future(loop)
    try:
        yield
    finally:
        await cancelled([task])


async def beat(health: Health) -> None:
    """Say for ever that the event loop turns."""
    while True:
        health.beat()
        await asyncio.sleep(_BEAT_SECONDS)


async def stay_alive(health: Health) -> None:
    """Say for ever that the event loop turns, ready or not: a missing database must not get a process restarted."""
    while True:
        health.waiting()
        await asyncio.sleep(_BEAT_SECONDS)


async def cancelled(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancel tasks and wait until all have ended.

    A cancellation can get lost in a library that turns it into an error of its own, which a loop then survives; so
    whoever does not end is cancelled again.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_SECONDS)
