"""Timers that look after many: one that fails ends neither the row nor the care for the others."""

from __future__ import annotations

import asyncio
from typing import Any

from edge.ingress.body_stream import InflightBodies
from edge.ingress.limits import ConnectionLimits, GuardLimits
from edge.server.connections import Connections


class Late:
    """A connection, or a body, that is too late."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.told = asyncio.Event()

    def head_late(self) -> None:
        self.told.set()
        if self.fails:
            raise ValueError("nobody foresaw this")

    def stop_if_late(self, now: float) -> None:
        self.head_late()


async def test_a_connection_that_fails_keeps_no_other_from_its_time_out() -> None:
    register = Connections(ConnectionLimits(head_timeout=0.05), lambda reason: None)
    connections: list[Any] = [Late(fails=True), Late(), Late()]
    for connection in connections:
        register.opened(connection, 1, asyncio.get_running_loop())
    for connection in connections:
        await asyncio.wait_for(connection.told.wait(), 5)
    later: Any = Late()
    register.opened(later, 1, asyncio.get_running_loop())
    await asyncio.wait_for(later.told.wait(), 5)


async def test_a_body_that_fails_keeps_no_later_one_from_its_deadline() -> None:
    arrivals = InflightBodies(GuardLimits(body_grace=0.05))
    bad: Any = Late(fails=True)
    arrivals.expect(bad)
    await asyncio.wait_for(bad.told.wait(), 5)
    arrivals.ended(bad)
    good: Any = Late()
    arrivals.expect(good)
    await asyncio.wait_for(good.told.wait(), 5)
