"""A resolver that does not answer must not hold a request for longer than a database that does not."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from shared import dns_timeout


async def never(*args: Any, **more: Any) -> Any:
    await asyncio.Event().wait()


async def test_a_look_up_that_takes_too_long_fails_as_one_that_found_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(dns_timeout, "LOOK_UP_SECONDS", 0.01)
    monkeypatch.setattr(loop, "getaddrinfo", never)
    dns_timeout.bound_look_ups()
    with pytest.raises(socket.gaierror, match="took longer") as failed:
        await loop.getaddrinfo("database.example", 27017)
    assert failed.value.errno == socket.EAI_AGAIN


async def test_a_quick_look_up_is_answered_and_bounded_once() -> None:
    loop = asyncio.get_running_loop()
    dns_timeout.bound_look_ups()
    bounded = loop.getaddrinfo
    dns_timeout.bound_look_ups()
    assert loop.getaddrinfo is bounded
    assert (await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM))[0][4] == ("127.0.0.1", 80)
