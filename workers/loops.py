"""Runs the loops of one process: each is restarted when it fails, and a stop ends them all."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import Any

from shared.telemetry.supervised import supervised_task

Loop = Callable[[], Coroutine[Any, Any, None]]

_HEARTBEAT_SECONDS = 1.0
_CANCEL_AGAIN_SECONDS = 0.2


async def until_stopped(
    loops: Mapping[str, Loop], stop: asyncio.Event, *, beside: Sequence[asyncio.Task[Any]] = ()
) -> None:
    """Run endless loops until `stop` is set. Raises what ended a task `beside`: a dead loop must not look alive."""
    tasks = [supervised_task(name, loop) for name, loop in loops.items()]
    stopped = asyncio.create_task(stop.wait(), name="stop")
    try:
        done, _ = await asyncio.wait([stopped, *tasks, *beside], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await cancelled([stopped, *tasks])


@contextlib.asynccontextmanager
async def background(name: str, loop: Loop, *, give_up_after: float = math.inf) -> AsyncIterator[asyncio.Task[Any]]:
    """Run a loop beside the block, as a task that fails when the loop has done nothing else for `give_up_after`."""
    task = supervised_task(name, loop, give_up_after=give_up_after)
    try:
        yield task
    finally:
        await cancelled([task])


async def heartbeat(beat: Callable[[], None]) -> None:
    """Say for ever that the event loop turns."""
    while True:
        beat()
        await asyncio.sleep(_HEARTBEAT_SECONDS)


async def cancelled(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancel tasks and wait until all have ended."""
    pending = set(tasks)
    while pending:  # repeated: a library may raise its own error for a cancellation, and the loop goes on
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_SECONDS)
