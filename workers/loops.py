"""Runs the loops of one process: the first that ends takes the others down; a stop ends them all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any

from shared.admin import Health

Loop = Coroutine[Any, Any, None]

_BEAT_SECONDS = 1.0


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
        await _cancel([stopped, *tasks])


@contextlib.asynccontextmanager
async def background(loop: Loop) -> AsyncIterator[None]:
    """Run a loop beside the block."""
    task = asyncio.ensure_future(loop)
    try:
        yield
    finally:
        await _cancel([task])


async def beat(health: Health) -> None:
    """Say for ever that the event loop turns."""
    while True:
        health.beat()
        await asyncio.sleep(_BEAT_SECONDS)


async def _cancel(tasks: Sequence[asyncio.Future[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
