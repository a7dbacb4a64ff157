"""What a drill does to connections and clocks, done to real sockets and a real process."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from coatcheck.dev.ports import LOOPBACK
from coatcheck.drill.stack.network import Network, Trouble
from coatcheck.drill.stack.preload import Preload
from coatcheck.drill.stack.processes import PortOwners, take_vitals

SECONDS = 20.0
LINK = (["client"], ["mongod*"])


class Line:
    """A client's connection to a server that says everything again."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def echo(self, seconds: float = SECONDS) -> float:
        """Send, wait for the echo; the seconds it took."""
        began = time.monotonic()
        self._writer.write(b"ping")
        async with asyncio.timeout(seconds):
            assert await self._reader.readexactly(4) == b"ping"
        return time.monotonic() - began

    def close(self) -> None:
        self._writer.close()


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


@asynccontextmanager
async def network(me: str = "client") -> AsyncIterator[tuple[Network, int]]:
    """A network with one proxy, in front of an echo, and the port of the proxy."""

    server = await asyncio.get_running_loop().create_server(Echo, LOOPBACK, 0)
    net = Network(PortOwners(lambda: {os.getpgid(0): me}).of)
    try:
        yield net, await net.open_proxy("mongod0", server.sockets[0].getsockname()[1])
    finally:
        net.close()
        server.close()
        await asyncio.sleep(0)


@asynccontextmanager
async def line(proxy: int) -> AsyncIterator[Line]:
    made = Line(*await asyncio.open_connection(LOOPBACK, proxy))
    try:
        yield made
    finally:
        made.close()


async def test_a_cut_link_is_silent_and_loses_nothing_when_it_is_mended() -> None:
    async with network() as (net, proxy), line(proxy) as old:
        await old.echo()
        with net.trouble(Trouble("cut", *LINK)):
            async with line(proxy) as fresh:
                for each in (old, fresh):
                    with pytest.raises(TimeoutError):
                        await each.echo(0.3)
        await old.echo()


async def test_a_delay_holds_in_both_directions_and_keeps_the_order() -> None:
    async with network() as (net, proxy), line(proxy) as slow:
        with net.trouble(Trouble("delay", *LINK, seconds=0.3)):
            assert await slow.echo() >= 0.59
        await slow.echo()


async def test_a_reset_link_fails_at_once_and_so_do_new_connections() -> None:
    async with network() as (net, proxy), line(proxy) as old:
        await old.echo()
        with net.trouble(Trouble("reset", *LINK)):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await old.echo()
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                async with line(proxy) as fresh:
                    await fresh.echo()
        async with line(proxy) as fresh:
            await fresh.echo()


async def test_a_truncated_link_breaks_in_the_middle() -> None:
    async with network() as (net, proxy), line(proxy) as doomed:
        await doomed.echo()
        with net.trouble(Trouble("truncate", *LINK)), pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            for _ in range(1000):
                await doomed.echo()


async def test_a_trouble_leaves_other_members_alone() -> None:
    async with network(me="worker1") as (net, proxy), line(proxy) as other:
        with net.trouble(Trouble("cut", ["edge*", "worker0"], ["mongod0"]), Trouble("cut", ["worker1"], ["broker*"])):
            await other.echo()


def test_a_preloaded_process_reads_the_clock_that_it_is_given_and_waits_by_the_right_one(tmp_path: Path) -> None:
    preload = Preload(tmp_path)
    preload.build()
    environ = {**os.environ, **preload.environ("worker0")}
    preload.set("worker0", wrong_by=-600)
    script = (
        "import threading, time; began = time.monotonic(); time.sleep(0.1); threading.Event().wait(0.1)\n"
        "print(time.time(), time.monotonic() - began)"
    )
    ran = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True)
    wrong, waited = map(float, ran.stdout.split())
    assert -SECONDS < time.time() - 600 - wrong < SECONDS
    assert 0.2 <= waited < SECONDS


def test_a_preloaded_process_waits_for_its_disk_and_finds_no_host(tmp_path: Path) -> None:
    preload = Preload(tmp_path)
    preload.build()
    environ = {**os.environ, **preload.environ("mongod0")}
    preload.set("mongod0", sync_takes=0.3, look_up_takes=-1)
    script = (
        "import os, socket, sys, time; began = time.monotonic()\n"
        "os.fsync(file := os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)); os.fdatasync(file)\n"
        "print(time.monotonic() - began, socket.getaddrinfo('127.0.0.1', 1)[0][4][0])\n"
        "socket.getaddrinfo('localhost', 1)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "file")]
    ran = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    waited, address = ran.stdout.split()
    assert 0.6 <= float(waited) < SECONDS
    assert address == LOOPBACK
    assert "gaierror" in ran.stderr


def test_this_process_and_its_child_are_seen_with_what_they_hold() -> None:
    with (
        subprocess.Popen(["sleep", "60"], start_new_session=True) as child,
        socket.create_server((LOOPBACK, 0)) as proxy,
    ):
        try:
            before = take_vitals({child.pid: "worker0", os.getpgid(0): "edge0"})
            with socket.create_connection(proxy.getsockname()[:2]):
                after = take_vitals({child.pid: "worker0", os.getpgid(0): "edge0"})
        finally:
            child.kill()
    assert (before["worker0"].threads, before["worker0"].connections) == (1, 0)
    mine = [name for name in before if after[name].descriptors == before[name].descriptors + 1]
    assert [after[name].connections - before[name].connections for name in mine] == [1]
    assert all(before[name].rss_mb > 0 for name in mine)
