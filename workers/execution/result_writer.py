"""Writes outcomes: gathered, fenced and kept through an outage."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence

from shared.domain.errors import StoreUnavailable
from shared.domain.job import Finish, Record
from shared.domain.store_interface import INLINE_RESULT_BYTES, WorkerStore
from shared.group_commit import GroupCommit
from shared.telemetry.metrics import RECORD_BATCH
from workers.answer_memory_budget import AnswerMemory

log = logging.getLogger(__name__)

_BATCH_ITEMS = 256
_BATCH_BYTES = 8 * 1024 * 1024
LARGE_LINES = 4
"""Batches with results beside their jobs, under way at a time: each is two writes, and the first may take seconds."""
_FIXED_BYTES = 512
"""What a record weighs beside its body, roughly."""
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 2.0
_SINGLE_TRIES = 3
"""How often one record that fails alone is tried before it is given up: the lease will run out."""


class _Line:
    """One batch under way and what waits for the next; `load` is their bytes."""

    def __init__(self, flush: Callable[[Sequence[Record]], Awaitable[Sequence[bool | Exception]]]) -> None:
        self.load = 0
        self._commit: GroupCommit[Record, bool] = GroupCommit(
            flush, max_items=_BATCH_ITEMS, max_bytes=_BATCH_BYTES, on_batch=RECORD_BATCH.observe
        )

    async def submit(self, record: Record, size: int) -> bool:
        self.load += size
        try:
            return await self._commit.submit(record, size)
        finally:
            self.load -= size


class ResultWriter:
    """Group-commits records, large ones in lines of their own. Each is fenced by its lease: order does not matter."""

    def __init__(self, store: WorkerStore, memory: AnswerMemory) -> None:
        self._store = store
        self._memory = memory
        self._line = _Line(self._flush)
        self._large = [_Line(self._flush) for _ in range(LARGE_LINES)]

    @property
    def full(self) -> bool:
        """Whether no further job should be claimed: answers and results weigh too much."""
        return self._memory.full

    async def record(self, record: Record) -> bool:
        """Write one outcome, however long the database is away. False: the lease was lost, nothing was written."""
        size = len(record.body) if isinstance(record, Finish) else 0
        with self._memory.unrecorded(_FIXED_BYTES + size):
            return await self._persist(record, size)

    async def _persist(self, record: Record, size: int) -> bool:
        wait, refused = _FIRST_WAIT, 0
        while True:
            try:
                line = self._line if size <= INLINE_RESULT_BYTES else min(self._large, key=lambda line: line.load)
                return await line.submit(record, _FIXED_BYTES + size)
            except StoreUnavailable as error:
                log.warning("outcome of job %s not written yet: %s", record.job_id, error)
            except Exception:
                refused += 1
                log.exception("outcome of job %s was refused", record.job_id)
                if refused == _SINGLE_TRIES:
                    raise
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(_LONGEST_WAIT, wait * 2)

    async def _flush(self, records: Sequence[Record]) -> Sequence[bool | Exception]:
        """Write a batch; when it fails as a whole for another reason than the database, each alone."""
        try:
            return await self._store.record(records)
        except StoreUnavailable:
            raise
        except Exception as error:
            if len(records) == 1:
                return [error]
            log.exception("a batch of %d outcomes was refused: sending each alone", len(records))
            return [(await self._flush([record]))[0] for record in records]
