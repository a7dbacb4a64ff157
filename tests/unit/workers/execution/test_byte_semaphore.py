"""The bound on held bytes: never exceeded, never stuck, in order of arrival."""

from __future__ import annotations

import asyncio
import random

from hypothesis import given
from hypothesis import strategies as st

from workers.execution.attempt import ByteSemaphore


@given(sizes=st.lists(st.integers(0, 150), min_size=1, max_size=30), seed=st.integers())
def test_no_more_than_the_limit_is_held_unless_one_body_is_larger(sizes: list[int], seed: int) -> None:
    rng = random.Random(seed)

    async def run() -> None:
        weight = ByteSemaphore(100)

        async def one(size: int) -> None:
            async with weight.held(size):
                assert weight.bytes_held <= max(100, *sizes)
                for _ in range(rng.randrange(3)):
                    await asyncio.sleep(0)

        await asyncio.wait_for(asyncio.gather(*map(one, sizes)), 5)
        assert weight.bytes_held == 0

    asyncio.run(run())


async def test_who_leaves_the_line_makes_room_for_the_next() -> None:
    weight = ByteSemaphore(100)
    async with weight.held(80):
        leaver = asyncio.ensure_future(_enter(weight, 90))
        patient = asyncio.ensure_future(_enter(weight, 20))
        await asyncio.sleep(0)
        assert not patient.done()
        leaver.cancel()
        await asyncio.wait_for(patient, 1)
    assert weight.bytes_held == 0


async def _enter(weight: ByteSemaphore, size: int) -> None:
    async with weight.held(size):
        pass
