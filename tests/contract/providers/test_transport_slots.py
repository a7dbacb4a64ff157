"""The HTTP exchange: how many calls at a time, connecting, and cancelling, which leaks nothing."""

from __future__ import annotations

import asyncio
import random
import socket
from typing import Any

import httpx
import pytest

from tests.contract.providers.transport_providers import ProviderAt, busy_connections, failure_of
from tests.support.jobs import eventually
from tests.support.servers.upstream import Upstream, call_of
from workers.provider_interface import CALLS, Calls
from workers.providers.transport.direct import make_socket


async def test_never_more_connections_than_max_concurrency(upstream: Upstream, provider_at: ProviderAt) -> None:
    provider = provider_at(upstream.base_url, max_concurrency=3)
    await asyncio.gather(*(provider.call(call_of(model="latency=20")) for _ in range(15)))
    assert upstream.log is not None
    assert (upstream.log.calls, upstream.log.peak) == (15, 3)


async def test_a_call_that_gets_no_connection_in_time_says_so(upstream: Upstream, provider_at: ProviderAt) -> None:
    provider = provider_at(upstream.base_url, max_concurrency=1)
    first = asyncio.create_task(provider.call(call_of(model="mode=hang")))
    await eventually(lambda: busy_connections(provider) == 1)
    error = await failure_of(provider, call_of(seconds=0.1))
    assert (error.status_code, error.error_type, error.retryable) == (503, "provider_overloaded", True)
    first.cancel()
    assert (await provider.call(call_of(seconds=2))).body


async def test_the_time_of_a_call_begins_with_the_call_and_waiting_for_it_counts_as_none(
    upstream: Upstream, provider_at: ProviderAt
) -> None:
    provider = provider_at(upstream.base_url, max_concurrency=1)
    calls = Calls()

    async def wait() -> None:
        CALLS.set(calls)
        await calls.begin()
        await provider.call(call_of(model="latency=1000", seconds=1.8))

    first = asyncio.create_task(provider.call(call_of(model="latency=1000", seconds=1.8)))
    await eventually(provider.transport._slots.locked)
    second = asyncio.create_task(wait())
    await eventually(lambda: provider.transport._slots._waiters)
    assert calls.begun == 0
    await first
    await second
    assert calls.begun == 1


class BlackHole:
    """A port that takes no connection: its queue is full, so the system drops what asks for one."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=1)
        self.port: int = self.listening.getsockname()[1]
        self.waiting = [socket.socket() for _ in range(8)]
        for client in self.waiting:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", self.port))

    def close(self) -> None:
        for client in [*self.waiting, self.listening]:
            client.close()


@pytest.fixture
def black_hole() -> Any:
    hole = BlackHole()
    yield hole
    hole.close()


async def test_no_connection_in_time_is_told_from_no_answer(black_hole: BlackHole, provider_at: ProviderAt) -> None:
    provider = provider_at(black_hole.port, connect_timeout_seconds=0.2)
    error = await failure_of(provider)
    assert (error.status_code, error.error_type, error.retryable) == (504, "provider_connection_failed", True)
    assert error.message == "no connection to the provider within 0.2 s"


async def test_cancelling_while_connecting_leaks_no_slot(
    black_hole: BlackHole, upstream: Upstream, provider_at: ProviderAt
) -> None:
    provider = provider_at(black_hole.port, max_concurrency=2, connect_timeout_seconds=30)
    for _ in range(10):
        calls = [asyncio.create_task(provider.call(call_of(seconds=30))) for _ in range(4)]
        await eventually(lambda: busy_connections(provider) == 2)  # both slots are connecting
        for call in calls:
            call.cancel()
        assert all(
            isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*calls, return_exceptions=True)
        )
        assert busy_connections(provider) == 0
    provider._urls = {kind: httpx.URL(f"{upstream.base_url}/chat/completions") for kind in provider._urls}
    await asyncio.gather(*(provider.call(call_of(seconds=5)) for _ in range(4)))


async def test_cancelling_anywhere_leaks_no_slot(upstream: Upstream, provider_at: ProviderAt) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    provider = provider_at(upstream.base_url, max_concurrency=4)
    models = ["m", "latency=2", "mode=drip", "mode=hang", "mode=huge", "status=500", "mode=reset"]

    async def one() -> None:
        task = asyncio.create_task(provider.call(call_of(model=draw.choice(models), seconds=draw.uniform(0.001, 0.05))))
        for _ in range(draw.randrange(30)):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    for _ in range(25):
        await asyncio.gather(*(one() for _ in range(10)))
    await asyncio.gather(*(provider.call(call_of(seconds=5)) for _ in range(8)))
    assert busy_connections(provider) == 0


async def test_nobody_listening_is_a_connection_failure(provider_at: ProviderAt) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    provider = provider_at(port)
    error = await failure_of(provider)
    assert (error.status_code, error.error_type, error.retryable) == (502, "provider_connection_failed", True)
    assert error.message == f"connection to the provider failed: 127.0.0.1:{port}: Connection refused"


async def test_connections_are_kept_alive_through_quiet_calls() -> None:
    with make_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1))) as made:
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
