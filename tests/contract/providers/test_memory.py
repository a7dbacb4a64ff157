"""Answers for which a worker has no room wait at their provider: whole or in part, and not at the cost of the call."""

from __future__ import annotations

import asyncio
import gzip

import pytest

from tests.support.jobs import eventually
from tests.support.servers.raw_provider import CHUNKED, HEAD, Line, raw
from workers.answer_memory_budget import AnswerMemory

BODY = b'{"answer":"' + b"x" * 900_000 + b'"}'
ZIPPED = gzip.compress(BODY)
CHUNKS = [b"%x\r\n%b\r\n" % (len(BODY), BODY), b"0\r\n\r\n"]
WIRE = {
    "with its length": [HEAD + b"content-length: %d\r\n\r\n" % len(BODY), BODY],
    "in chunks": [CHUNKED, *CHUNKS],
    "zipped": [HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(ZIPPED), ZIPPED],
}


def _serve(wire: list[bytes]) -> object:
    async def serve(line: Line) -> None:
        while True:
            await line.request()
            for piece in wire:
                await line.say(piece)

    return serve


@pytest.mark.parametrize("wire", WIRE.values(), ids=WIRE)
async def test_an_answer_without_room_waits_longer_than_its_call_may_take(wire: list[bytes]) -> None:
    memory = AnswerMemory(1 << 20)
    async with raw(_serve(wire), memory=memory) as provider:  # type: ignore[arg-type]
        with memory.unrecorded(1 << 20):
            call = asyncio.ensure_future(provider.call(seconds=0.3))
            await asyncio.wait({call}, timeout=1.0)
            assert not call.done()
            assert memory.held == 1 << 20
        assert (await asyncio.wait_for(call, 10)).body == BODY
        assert memory.held == 0


@pytest.mark.parametrize("wire", WIRE.values(), ids=WIRE)
async def test_many_answers_at_a_time_all_come_in_and_hold_no_more_than_there_is_room_for(wire: list[bytes]) -> None:
    memory, most, left = AnswerMemory(2 << 20), 0, 30

    async def call() -> None:
        nonlocal most, left
        reply = await provider.call()
        size = len(reply.body)
        with memory.unrecorded(size):
            await eventually(lambda: memory.held > size or left == 1)  # until another one comes in beside it
            most = max(most, memory.held)
            left -= 1
        assert reply.body == BODY

    async with raw(_serve(wire), memory=memory) as provider:  # type: ignore[arg-type]
        async with asyncio.timeout(20):
            await asyncio.gather(*(call() for _ in range(left)))
    assert most <= (2 << 20) + (1 << 20)
    assert memory.held == 0


async def test_who_is_cancelled_while_his_answer_waits_leaves_its_room_to_others() -> None:
    memory = AnswerMemory(1 << 20)
    async with raw(_serve(WIRE["in chunks"]), memory=memory) as provider:  # type: ignore[arg-type]
        with memory.unrecorded(1 << 20):
            leaver, patient = (asyncio.ensure_future(provider.call()) for _ in range(2))
            await eventually(lambda: len(memory._waiting) == 2)
            leaver.cancel()
        assert (await asyncio.wait_for(patient, 10)).body == BODY
        assert memory.held == 0
