"""Writes outcomes: gathered, fenced, kept through an outage and bounded in bytes."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence

from shared.errors import StoreUnavailable
from shared.group_commit import GroupCommit
from shared.job import Finish, Record
from shared.metrics import RECORD_BATCH, UNRECORDED_BYTES
from shared.store import FleetStore

log = logging.getLogger(__name__)

_BATCH_ITEMS = 256
_BATCH_BYTES = 8 * 1024 * 1024
_FIXED_BYTES = 512
"""What a record weighs beside its body, roughly."""
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 2.0
_SINGLE_TRIES = 3
"""How often one record that fails alone is tried before it is given up: the lease will run out."""


class Recorder:
    """Group-commits records. `full` says that no further job should be claimed."""

    def __init__(self, store: FleetStore, max_bytes: int) -> None:
        self._store = store
        self._max_bytes = max_bytes
        self._bytes = 0
        UNRECORDED_BYTES.set_function(lambda: self._bytes)
        self._commit: GroupCommit[Record, bool] = GroupCommit(
            self._flush, max_items=_BATCH_ITEMS, max_bytes=_BATCH_BYTES, on_batch=RECORD_BATCH.observe
        )

    @property
    def full(self) -> bool:
        """Whether the results that wait for the database weigh too much."""
        return self._bytes >= self._max_bytes

    async def record(self, record: Record) -> bool:
        """Write one outcome, however long the database is away. False: the lease was lost, nothing was written."""
        size = _FIXED_BYTES + (len(record.body) if isinstance(record, Finish) else 0)
        self._bytes += size
        try:
            return await self._persist(record, size)
        finally:
            self._bytes -= size

    async def _persist(self, record: Record, size: int) -> bool:
        wait, refused = _FIRST_WAIT, 0
        while True:
            try:
                return await self._commit.submit(record, size)
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
