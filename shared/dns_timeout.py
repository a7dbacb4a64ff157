"""Look-ups of host names that end: the database's driver bounds how long it connects, not how long a resolver takes."""

import asyncio
import socket
from typing import Any

LOOK_UP_SECONDS = 1.5
"""Half of what an edge gives the database, so that one failed look-up leaves time for another server."""
_MARK = "coatcheck_bounded"


def bound_look_ups() -> None:
    """Let every look-up of the running event loop fail after LOOK_UP_SECONDS, as one that found nothing."""
    loop = asyncio.get_running_loop()
    bounded_lookup = loop.getaddrinfo
    if hasattr(bounded_lookup, _MARK):
        return

    async def bounded(*args: Any, **more: Any) -> Any:
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS):
                return await bounded_lookup(*args, **more)
        except TimeoutError:
            message = f"looking up the host took longer than {LOOK_UP_SECONDS:g} s"
            raise socket.gaierror(socket.EAI_AGAIN, message) from None

    setattr(bounded, _MARK, True)
    loop.getaddrinfo = bounded  # type: ignore[method-assign]
