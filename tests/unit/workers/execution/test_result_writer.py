"""What the recorder promises beside its store: no outcome waits for another's size, and none is exchanged."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.errors import StoreUnavailable
from shared.domain.job import Finish, Record, Status
from shared.domain.store_interface import INLINE_RESULT_BYTES
from tests.support.fakes.store import FakeStore
from tests.support.jobs import claimed_job, eventually
from workers.answer_memory_budget import AnswerMemory
from workers.execution import result_writer as module
from workers.execution.result_writer import LARGE_LINES, ResultWriter

SIZES = st.sampled_from([0, 300, INLINE_RESULT_BYTES, INLINE_RESULT_BYTES + 1, 3 * INLINE_RESULT_BYTES])


def finish(size: int) -> Finish:
    job = claimed_job()
    body = (job.id.hex.encode() * (size // 32 + 1))[:size]
    return Finish(job.id, job.lease, Status.COMPLETED, 200, body, 60)


class Store(FakeStore):
    """Takes records; `refuse` says whether a batch fails, before or after it was written."""

    def __init__(self, seed: int = 0, failures: float = 0.0) -> None:
        super().__init__()
        self.rng = random.Random(seed)
        self.failures = failures
        self.written: dict[UUID, bytes] = {}
        self.batches: list[list[int]] = []
        self.held_back = asyncio.Event()
        self.under_way = 0
        self.most_under_way = 0

    async def record(self, records: Sequence[Record]) -> list[bool | Exception]:
        finished = [record for record in records if isinstance(record, Finish)]
        self.batches.append([len(record.body) for record in finished])
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            return await self._write(finished)
        finally:
            self.under_way -= 1

    async def _write(self, finished: Sequence[Finish]) -> list[bool | Exception]:
        if any(len(record.body) > INLINE_RESULT_BYTES for record in finished):
            await self.held_back.wait()
        await asyncio.sleep(self.rng.choice([0, 0.001]))
        fails = self.rng.random() < self.failures
        if fails and self.rng.random() < 0.5:
            raise StoreUnavailable("away")
        outcomes: list[bool | Exception] = []
        for record in finished:
            alone = self.rng.random() < self.failures / 4
            if not alone:
                self.written[record.job_id] = record.body
            outcomes.append(StoreUnavailable("this one alone") if alone else True)
        if fails:
            raise StoreUnavailable("written, but the answer was lost")
        return outcomes


async def test_a_large_result_on_its_way_holds_up_no_small_one() -> None:
    store = Store()
    result_writer = ResultWriter(store, AnswerMemory(1 << 30))
    large = asyncio.ensure_future(result_writer.record(finish(10 * INLINE_RESULT_BYTES)))
    await eventually(lambda: store.batches)
    assert await asyncio.wait_for(result_writer.record(finish(300)), 5)
    assert not large.done()
    store.held_back.set()
    assert await large


async def test_large_results_are_written_together_and_several_batches_at_a_time() -> None:
    store = Store()
    result_writer = ResultWriter(store, AnswerMemory(1 << 30))
    records = [asyncio.ensure_future(result_writer.record(finish(2 * INLINE_RESULT_BYTES))) for _ in range(60)]
    await eventually(lambda: store.under_way == LARGE_LINES or None)
    store.held_back.set()
    assert all(await asyncio.gather(*records))
    assert store.most_under_way == LARGE_LINES
    assert len(store.batches) <= 2 * LARGE_LINES, "many results a batch"


@given(sizes=st.lists(SIZES, min_size=1, max_size=40), seed=st.integers())
@settings(max_examples=40)
def test_whatever_fails_and_is_tried_again_each_job_gets_its_own_result(sizes: list[int], seed: int) -> None:
    async def run() -> None:
        store = Store(seed, failures=0.4)
        store.held_back.set()
        memory = AnswerMemory(1 << 30)
        result_writer = ResultWriter(store, memory)
        records = [finish(size) for size in sizes]
        assert all(await asyncio.gather(*map(result_writer.record, records)))
        assert store.written == {record.job_id: record.body for record in records}
        assert memory.held == 0

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "_FIRST_WAIT", 0.001)
        patched.setattr(module, "_LONGEST_WAIT", 0.001)
        asyncio.run(run())
