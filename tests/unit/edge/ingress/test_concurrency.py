"""Bounds: places are taken, refused and given back, whatever happens to their holders."""

from __future__ import annotations

import asyncio

import pytest

from edge.ingress.concurrency import ConcurrencyLimit, WaitingLimit
from shared.domain.errors import Overloaded


def test_a_gate_refuses_the_one_too_many_and_takes_him_later() -> None:
    gate = ConcurrencyLimit(2, "full")
    with gate, gate, pytest.raises(Overloaded, match="full"), gate:
        pass
    assert gate.taken == 0
    with gate:
        assert gate.taken == 1


def test_a_gate_gives_the_place_back_after_an_error() -> None:
    gate = ConcurrencyLimit(1, "full")
    with pytest.raises(KeyError), gate:
        raise KeyError
    assert gate.taken == 0


async def test_a_turnstile_lets_others_wait_for_a_place() -> None:
    turnstile = WaitingLimit(1, 10, "full")
    leave = asyncio.Event()

    async def hold() -> None:
        async with turnstile:
            await leave.wait()

    first, second = asyncio.create_task(hold()), asyncio.create_task(hold())
    await asyncio.sleep(0)
    leave.set()
    await asyncio.gather(first, second)


async def test_a_turnstile_refuses_who_waited_too_long_and_loses_no_place() -> None:
    turnstile = WaitingLimit(1, 0.01, "full")
    async with turnstile:
        with pytest.raises(Overloaded, match="full"):
            await turnstile.__aenter__()
    async with turnstile:
        pass


async def test_a_turnstile_loses_no_place_to_one_who_hangs_up() -> None:
    turnstile = WaitingLimit(1, 10, "full")
    async with turnstile:
        waiting = asyncio.create_task(turnstile.__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with asyncio.timeout(1), turnstile:
        pass
