"""Group commit: gathering, bounds, one outcome per caller."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import Overloaded
from shared.group_commit import GroupCommit


class ConcurrencyLimit:
    """A flush that notes its batches and can be held back."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()

    async def flush(self, items: Sequence[int]) -> list[int | BaseException]:
        self.batches.append(list(items))
        await self.open.wait()
        return [ValueError(str(item)) if item < 0 else item * 2 for item in items]


async def test_a_lone_item_leaves_at_once() -> None:
    gate = ConcurrencyLimit()
    assert await GroupCommit(gate.flush, max_items=8).submit(21) == 42
    assert gate.batches == [[21]]


async def test_what_arrives_during_a_batch_travels_together_in_the_next() -> None:
    gate = ConcurrencyLimit()
    gate.open.clear()
    commit = GroupCommit(gate.flush, max_items=8)
    first = asyncio.create_task(commit.submit(1))
    await _until(lambda: gate.batches == [[1]])
    rest = [asyncio.create_task(commit.submit(number)) for number in (2, 3, 4)]
    await _until(lambda: commit.waiting == 3)
    gate.open.set()
    assert await asyncio.gather(first, *rest) == [2, 4, 6, 8]
    assert gate.batches == [[1], [2, 3, 4]]


async def test_batches_with_a_spacing_gather_what_comes_meanwhile() -> None:
    gate, loop = ConcurrencyLimit(), asyncio.get_running_loop()
    commit = GroupCommit(gate.flush, max_items=8, spacing=0.2)
    began = loop.time()
    assert await commit.submit(1) == 2
    lonely = loop.time() - began
    assert list(await asyncio.gather(commit.submit(2), commit.submit(3))) == [4, 6]
    assert loop.time() - began >= 0.2 > lonely
    assert gate.batches == [[1], [2, 3]]


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_batch_worth_its_cost_does_not_wait_for_its_time(at_once: bool) -> None:
    gate, loop = ConcurrencyLimit(), asyncio.get_running_loop()
    commit = GroupCommit(gate.flush, max_items=8, spacing=600.0, unspaced=3)
    began = loop.time()
    await commit.submit(1)
    asked = []
    for number in (2, 3, 4):
        asked.append(asyncio.create_task(commit.submit(number)))
        if not at_once:
            await asyncio.sleep(0.01)
    assert await asyncio.gather(*asked) == [4, 6, 8]
    assert gate.batches == [[1], [2, 3, 4]]
    assert loop.time() - began < 300


async def test_each_caller_gets_his_own_outcome() -> None:
    commit = GroupCommit(ConcurrencyLimit().flush, max_items=8)
    outcomes = await asyncio.gather(*(commit.submit(number) for number in (1, -2, 3)), return_exceptions=True)
    assert outcomes[0] == 2
    assert isinstance(outcomes[1], ValueError)
    assert outcomes[2] == 6


async def test_a_flush_that_fails_fails_its_batch_and_not_the_next() -> None:
    failing = True

    async def flush(items: Sequence[int]) -> Sequence[int]:
        if failing:
            raise RuntimeError("down")
        return items

    commit = GroupCommit(flush, max_items=8)
    results = await asyncio.gather(commit.submit(1), commit.submit(2), return_exceptions=True)
    assert all(isinstance(result, RuntimeError) for result in results)
    failing = False
    assert await commit.submit(3) == 3


async def test_a_caller_that_leaves_does_not_take_its_item_along() -> None:
    gate = ConcurrencyLimit()
    gate.open.clear()
    commit = GroupCommit(gate.flush, max_items=8)
    blocker = asyncio.create_task(commit.submit(1))
    await _until(lambda: len(gate.batches) == 1)
    leaver, stayer = asyncio.create_task(commit.submit(2)), asyncio.create_task(commit.submit(3))
    await _until(lambda: commit.waiting == 2)
    leaver.cancel()
    gate.open.set()
    assert list(await asyncio.gather(blocker, stayer)) == [2, 6]
    assert gate.batches == [[1], [2, 3]]


async def test_too_long_a_line_refuses_newcomers() -> None:
    gate = ConcurrencyLimit()
    gate.open.clear()
    commit = GroupCommit(gate.flush, max_items=8, max_waiting=2)
    waiting = [asyncio.create_task(commit.submit(1))]
    await _until(lambda: len(gate.batches) == 1)
    waiting += [asyncio.create_task(commit.submit(number)) for number in (2, 3)]
    await _until(lambda: commit.waiting == 2)
    with pytest.raises(Overloaded):
        await commit.submit(4)
    gate.open.set()
    assert await asyncio.gather(*waiting) == [2, 4, 6]


async def test_a_batch_that_hangs_refuses_newcomers() -> None:
    gate = ConcurrencyLimit()
    gate.open.clear()
    commit = GroupCommit(gate.flush, max_items=8, max_stall=0.0)
    first = asyncio.create_task(commit.submit(1))
    await _until(lambda: len(gate.batches) == 1)
    with pytest.raises(Overloaded):
        await commit.submit(2)
    gate.open.set()
    assert await first == 2


async def test_when_a_batch_that_hung_fails_nobody_in_line_waits_for_another_failure() -> None:
    gate = ConcurrencyLimit()
    gate.open.clear()

    async def flush(items: Sequence[int]) -> list[int | BaseException]:
        await gate.flush(items)
        raise RuntimeError("down")

    commit = GroupCommit(flush, max_items=8, max_stall=0.05)
    first = asyncio.create_task(commit.submit(1))
    await _until(lambda: len(gate.batches) == 1)
    second = asyncio.create_task(commit.submit(2))
    await _until(lambda: commit.waiting == 1)
    await asyncio.sleep(0.1)  # longer than a batch may take
    gate.open.set()
    failures = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(failure) for failure in failures] == [RuntimeError, Overloaded]
    assert gate.batches == [[1]]


@given(sizes=st.lists(st.integers(0, 120), min_size=1, max_size=60))
def test_no_batch_exceeds_its_bounds_unless_one_item_does(sizes: list[int]) -> None:
    async def run() -> list[list[int]]:
        gate = ConcurrencyLimit()
        commit = GroupCommit(gate.flush, max_items=7, max_bytes=100)
        await asyncio.gather(*(commit.submit(size, size) for size in sizes))
        return gate.batches

    batches = asyncio.run(run())
    assert [size for batch in batches for size in batch] == sizes
    assert all(len(batch) <= 7 and (sum(batch) <= 100 or len(batch) == 1) for batch in batches)


async def _until(condition: object) -> None:
    assert callable(condition)
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("the condition never came true")


async def _too_few(items: Sequence[int]) -> list[int | BaseException]:
    return []


def _fails(size: int) -> None:
    raise ValueError("a metric that fails")


async def test_nobody_waits_for_ever_when_a_batch_ends_in_an_unforeseen_way() -> None:
    for commit in (
        GroupCommit(_too_few, max_items=8),
        GroupCommit(ConcurrencyLimit().flush, max_items=8, on_batch=_fails),
    ):
        with pytest.raises(ValueError):
            await asyncio.wait_for(commit.submit(1), 5)


async def test_nobody_waits_for_ever_when_the_task_that_sends_is_cancelled() -> None:
    gate = ConcurrencyLimit()
    gate.open.clear()
    commit = GroupCommit(gate.flush, max_items=1)
    callers = [asyncio.create_task(commit.submit(number)) for number in (1, 2)]
    await _until(lambda: gate.batches == [[1]] and commit.waiting == 1)
    next(task for task in asyncio.all_tasks() if task.get_name() == "batches").cancel()
    ended = await asyncio.wait_for(asyncio.gather(*callers, return_exceptions=True), 5)
    assert [type(each) for each in ended] == [RuntimeError, RuntimeError]
    gate.open.set()
    assert await commit.submit(3) == 6
