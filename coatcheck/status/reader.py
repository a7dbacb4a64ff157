"""Reads facts and histories on a thread of its own, connected at the first question, whatever the main loop does."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from coatcheck.status.facts import Facts, gather
from shared.domain.errors import StoreUnavailable
from shared.mongo.connection.client import Database, connect
from shared.mongo.operator_store import OperatorStore
from shared.settings.table import Settings
from shared.telemetry.supervised import supervised_thread

FRESH_SECONDS = 2.0  # however many watch, the database is asked at most this often
ANSWER_SECONDS = 8.0  # below the time that the admin port gives a whole exchange
_JOBS_AT_A_TIME = 2

T = TypeVar("T")


class StatusReader:
    """Methods block and may be called on any thread. They raise StoreUnavailable."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._start = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._database: Database | None = None
        self._turn = asyncio.Lock()
        self._jobs = asyncio.Semaphore(_JOBS_AT_A_TIME)
        self._opened = contextlib.AsyncExitStack()
        self._asked = float("-inf")
        self._facts: Facts | StoreUnavailable | None = None

    def facts(self) -> Facts:
        return self._ask(self._fresh())

    def history(self, job_id: UUID) -> dict[str, Any] | None:
        """Everything that is stored about a job except its bodies, and `now`; None when there is no such job."""
        return self._ask(self._history(job_id))

    def close(self) -> None:
        if self._loop is not None:
            self._ask(self._opened.aclose())
            self._loop.call_soon_threadsafe(self._loop.stop)

    def _ask(self, question: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(question, self._running_loop())
        try:
            return future.result(ANSWER_SECONDS)
        except TimeoutError:
            future.cancel()
            raise StoreUnavailable("the database did not answer in time") from None

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._start:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                supervised_thread("status", partial(_run, self._loop)).start()
            return self._loop

    async def _connected(self) -> Database:
        """The driver reconnects by itself, so this connects once."""
        if self._database is None:
            self._database = await self._opened.enter_async_context(connect(self._settings, role="operator"))
        return self._database

    async def _fresh(self) -> Facts:
        """One question at a time: whoever waited for another's answer gets that one. Failures are remembered too."""
        async with self._turn:
            if time.monotonic() - self._asked > FRESH_SECONDS or self._facts is None:
                try:
                    self._facts = await gather(await self._connected(), self._settings)
                except StoreUnavailable as error:
                    self._facts = error
                self._asked = time.monotonic()
            if isinstance(self._facts, StoreUnavailable):
                raise StoreUnavailable(str(self._facts))
            return self._facts

    async def _history(self, job_id: UUID) -> dict[str, Any] | None:
        async with self._turn:
            database = await self._connected()
        async with self._jobs:
            history = await OperatorStore(database).history(job_id)
        return None if history is None else history | {"now": database.now()}


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()
