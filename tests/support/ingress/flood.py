"""Slow clients by the thousand, as a process of their own: silent, dripping heads, dripping bodies, slow readers.

`python -m tests.support.ingress.flood PORT COUNT PATH` keeps COUNT connections of each kind open, anew whenever one is
closed, until its standard input ends. It prints `up` once all of them have been connected. PATH is a large result.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import sys
from collections.abc import Awaitable, Callable

HEAD = b"POST /v1/async/embeddings HTTP/1.1\r\nHost: door\r\nX-Long: " + b"x" * 4000
BODY = b"POST /v1/async/embeddings HTTP/1.1\r\nHost: door\r\nContent-Length: 100000\r\n\r\n"
SECOND = 1.0

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Act = Callable[[Stream], Awaitable[None]]


async def silent(stream: Stream) -> None:
    await stream[0].read()


async def drip_head(stream: Stream) -> None:
    await _drip(stream, HEAD)


async def drip_body(stream: Stream) -> None:
    stream[1].write(BODY)
    await _drip(stream, b" " * 1000)


async def _drip(stream: Stream, data: bytes) -> None:
    reader, writer = stream
    for byte in data:
        if reader.at_eof():
            return
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(SECOND)


def read_slowly(path: str) -> Act:
    async def act(stream: Stream) -> None:
        reader, writer = stream
        writer.write(f"GET {path} HTTP/1.1\r\nHost: door\r\n\r\n".encode())
        while await reader.read(512):
            await asyncio.sleep(SECOND)

    return act


class Flood:
    """`count` connections of each kind."""

    def __init__(self, port: int, count: int, kinds: list[Act]) -> None:
        self._port = port
        self._acts = kinds * count
        self._missing = len(self._acts)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for act in self._acts:
                group.create_task(self._again_and_again(act))

    async def _again_and_again(self, act: Act) -> None:
        first = True
        while True:
            await asyncio.sleep(random.random())
            with contextlib.suppress(OSError):
                stream = await self._connect()
                if first:
                    first = False
                    self._connected()
                try:
                    await act(stream)
                finally:
                    stream[1].transport.abort()

    async def _connect(self) -> Stream:
        client = socket.socket()
        client.setblocking(False)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", self._port))
        return await asyncio.open_connection(sock=client, limit=1024)

    def _connected(self) -> None:
        self._missing -= 1
        if not self._missing:
            print("up", flush=True)


async def main(port: str, count: str, path: str) -> None:
    flood = asyncio.create_task(Flood(int(port), int(count), [silent, drip_head, drip_body, read_slowly(path)]).run())
    await asyncio.to_thread(sys.stdin.read)
    flood.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await flood


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
