"""Runs one operator's question against the database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from shared.logging import configure
from shared.mongo.client import Database, connect
from shared.settings import Settings

Answer = TypeVar("Answer")


def ask(settings: Settings, question: Callable[[Database], Awaitable[Answer]], wait: float = 0.0) -> Answer:
    """Connect, ask, disconnect. Raises StoreUnavailable when no primary answers within `wait` seconds."""

    async def run() -> Answer:
        async with connect(settings, role="operator", wait=wait) as database:
            return await question(database)

    configure(settings, component="cli")
    return asyncio.run(run())
