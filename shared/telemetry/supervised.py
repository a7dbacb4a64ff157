"""Watches what runs for the life of a process: a task or thread that fails is logged, counted and started again."""

import asyncio
import logging
import math
import threading
import time
from collections.abc import Awaitable, Callable
from typing import NoReturn

from shared.domain.errors import CoatcheckError
from shared.telemetry.metrics import TASK_RESTARTS

log = logging.getLogger(__name__)

_FIRST_WAIT, _LONGEST_WAIT = 0.1, 10.0
_CALM_SECONDS = 30.0
"""Whoever ran for so long before it failed starts a new row of failures; sooner where a row ends the process."""


class TaskFailed(CoatcheckError):
    """A task that its process needs failed again and again."""


def restart_in(failures: int) -> float:
    """Seconds until the next start after so many failures in a row: at once, then ever later."""
    return float(min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(failures - 1, 32)))


class _Failures:
    def __init__(self, name: str, give_up_after: float) -> None:
        self._name = name
        self._give_up_after = give_up_after
        self._calm = min(_CALM_SECONDS, give_up_after / 4)
        self._restarts = TASK_RESTARTS.labels(name)  # at 0 from the start, or no rate would show the first restart
        self._count = 0
        self._since = 0.0

    def note(self, began: float, error: BaseException) -> float:
        """Counts a failure; seconds to wait before the next start. Raises TaskFailed after too long a row."""
        now = time.monotonic()
        if not self._count or now - began > self._calm:
            self._count, self._since = 0, now
        self._count += 1
        if now - self._since > self._give_up_after:
            raise TaskFailed(f"{self._name} has failed for {now - self._since:.0f} s: {type(error).__name__}: {error}")
        wait = restart_in(self._count)
        log.error("%s failed and is started again in %.1f s", self._name, wait, exc_info=error)
        self._restarts.inc()
        return wait


async def supervised(name: str, loop: Callable[[], Awaitable[object]], *, give_up_after: float = math.inf) -> NoReturn:
    """Runs a loop until this task is cancelled. Raises TaskFailed when it only failed for `give_up_after` seconds."""
    failures = _Failures(name, give_up_after)
    task = asyncio.current_task()
    while True:
        began = time.monotonic()
        try:
            await loop()
            raise RuntimeError(f"{name} ended by itself")
        except (Exception, asyncio.CancelledError) as error:
            # Nobody cancelled this task: the cancellation came from something that the loop waited for.
            if task is not None and task.cancelling():
                raise asyncio.CancelledError from error
            wait = failures.note(began, error)
        await asyncio.sleep(wait)


def supervised_task(
    name: str, loop: Callable[[], Awaitable[object]], *, give_up_after: float = math.inf
) -> asyncio.Task[NoReturn]:
    return asyncio.create_task(supervised(name, loop, give_up_after=give_up_after), name=name)


def supervised_thread(name: str, run: Callable[[], object]) -> threading.Thread:
    """A daemon thread of this name, not started yet. It ends when `run` returns, and starts again when `run` raises."""
    return threading.Thread(target=_run_again, args=(name, run), name=name, daemon=True)


def _run_again(name: str, run: Callable[[], object]) -> None:
    failures = _Failures(name, math.inf)
    while True:
        began = time.monotonic()
        try:
            run()
        except BaseException as error:  # also SystemExit, which would end only this thread, silently
            time.sleep(failures.note(began, error))
        else:
            return
