from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from shared.mongo.connection.client import Database, connect
from shared.settings.table import Settings
from shared.telemetry.logging import configure

Answer = TypeVar("Answer")


def ask(settings: Settings, question: Callable[[Database], Awaitable[Answer]], wait: float = 0.0) -> Answer:
    """Connect, ask, disconnect. Raises StoreUnavailable when no primary answers within `wait` seconds."""

    async def run() -> Answer:
        async with connect(settings, role="operator", wait=wait) as database:
            return await question(database)

    configure(settings, component="cli")
    return asyncio.run(run())
