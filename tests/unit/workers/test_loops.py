"""Loops of a process: the first that ends takes the others down, and a stop ends even a stubborn one."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from shared.telemetry.health import Health
from shared.telemetry.supervised import TaskFailed
from workers.loops import background, cancelled, heartbeat, until_stopped


async def forever() -> None:
    await asyncio.Event().wait()


async def test_a_stop_ends_every_loop() -> None:
    stop = asyncio.Event()
    running = asyncio.ensure_future(until_stopped({"one": forever, "other": forever}, stop))
    await asyncio.sleep(0)
    stop.set()
    await asyncio.wait_for(running, 1)


async def test_a_task_beside_that_fails_for_good_is_raised_and_ends_the_loops() -> None:
    ended = asyncio.Event()

    async def other() -> None:
        try:
            await forever()
        finally:
            ended.set()

    async def failing() -> None:
        await asyncio.sleep(0)
        raise ValueError("dead")

    with pytest.raises(TaskFailed, match=r"leases has failed for .*: ValueError: dead"):
        async with background("leases", failing, give_up_after=0.1) as leases:
            await until_stopped({"other": other}, asyncio.Event(), beside=[leases])
    assert ended.is_set()


async def test_a_task_that_loses_a_cancellation_is_cancelled_again() -> None:
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while True:
            try:
                await forever()
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed == 3:
                    raise

    task = asyncio.ensure_future(stubborn())
    await asyncio.sleep(0)
    await asyncio.wait_for(cancelled([task]), 5)
    assert swallowed == 3


async def test_a_background_loop_ends_with_its_block() -> None:
    ended = asyncio.Event()

    async def loop() -> None:
        try:
            await forever()
        finally:
            ended.set()

    async with background("loop", loop):
        await asyncio.sleep(0)
    assert ended.is_set()


async def test_a_process_that_waits_for_its_database_is_alive_and_not_ready() -> None:
    now = 0.0
    health = Health("worker", within=30.0, clock=lambda: now)
    now = 100.0
    assert health.stalled()
    async with background("alive", partial(heartbeat, health.waiting)):
        await asyncio.sleep(0)
        assert not health.stalled()
        assert health.problems() == ["worker: still starting"]
