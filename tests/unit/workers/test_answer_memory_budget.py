"""The bound on answers: kept but for one answer, never stuck, in order of beginning, and not at the provider's cost."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.jobs import eventually
from workers.answer_memory_budget import AnswerMemory, Incoming

LIMIT = 1000
LARGEST = 400


async def _receive(memory: AnswerMemory, answer: Incoming, size: int, *, known: bool, rng: random.Random) -> None:
    async with asyncio.timeout(None) as deadline:
        if known:
            await answer.up_to(size, deadline)
        received = 0
        while received < size:
            await asyncio.sleep(0)
            received = min(size, received + rng.randrange(1, 90))
            await answer.up_to(received, deadline)
            assert memory.held <= LIMIT * 9 // 8 + LARGEST, "the limit, and one answer more"


@given(answers=st.lists(st.tuples(st.integers(0, LARGEST), st.booleans()), min_size=1, max_size=25), seed=st.integers())
def test_all_answers_come_in_and_together_never_hold_more_than_the_limit_and_one(
    answers: list[tuple[int, bool]], seed: int
) -> None:
    rng, memory = random.Random(seed), AnswerMemory(LIMIT)

    async def one(size: int, known: bool) -> None:
        with memory.incoming() as answer:
            await _receive(memory, answer, size, known=known, rng=rng)
        with memory.unrecorded(size):
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)

    async def run() -> None:
        async with asyncio.timeout(20):
            await asyncio.gather(*(one(*answer) for answer in answers))
        assert memory.held == 0

    asyncio.run(run())


async def test_while_the_database_is_away_results_that_wait_for_it_hold_answers_back() -> None:
    memory = AnswerMemory(LIMIT)
    with memory.incoming() as answer:
        async with asyncio.timeout(None) as deadline:
            with memory.unrecorded(LIMIT):
                assert memory.full
                waiting = asyncio.ensure_future(answer.up_to(1, deadline))
                await eventually(lambda: memory._waiting and not memory._looking)
                assert not waiting.done()
            await asyncio.wait_for(waiting, 5)


async def test_an_answer_larger_than_the_limit_comes_in_alone() -> None:
    memory = AnswerMemory(LIMIT)
    with memory.incoming() as answer:
        async with asyncio.timeout(None) as deadline:
            await asyncio.wait_for(answer.up_to(2 * LIMIT, deadline), 5)
        assert memory.held == 2 * LIMIT


async def test_who_gives_up_waiting_makes_room_for_the_next() -> None:
    memory = AnswerMemory(LIMIT)
    with memory.incoming() as first, memory.incoming() as second, memory.incoming() as third:
        async with asyncio.timeout(None) as deadline:
            await first.up_to(800, deadline)
            impatient = asyncio.ensure_future(second.up_to(900, deadline))
            patient = asyncio.ensure_future(third.up_to(100, deadline))
            await asyncio.sleep(0)
            assert not patient.done(), "in order of beginning"
            impatient.cancel()
            await asyncio.wait_for(patient, 5)
    assert memory.held == 0


async def test_the_time_an_answer_waits_for_room_is_not_taken_from_the_call() -> None:
    memory = AnswerMemory(LIMIT)
    loop = asyncio.get_running_loop()
    with memory.incoming() as answer:
        async with asyncio.timeout(0.05) as deadline:
            began = loop.time()
            with memory.unrecorded(LIMIT):
                waiting = asyncio.ensure_future(answer.up_to(1, deadline))
                await asyncio.wait({waiting}, timeout=0.2)
            await waiting
            left = deadline.when()
            assert left is not None
            assert left - began > 0.2, "what was left before is left now"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await asyncio.sleep(20)
