"""A provider on a raw socket: it says byte by byte what a test wants, to a transport of the workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest

from shared.providers.config import configured
from workers.answer_memory_budget import AnswerMemory
from workers.provider_interface import ProviderError
from workers.providers.transport.exchange import Reply, Transport

SECONDS = 20.0
HEAD = b"HTTP/1.1 200 OK\r\n"
ANSWER = HEAD + b"content-length: 2\r\n\r\nok"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"

Serve = Callable[["Line"], Awaitable[None]]


class Line:
    """The server's end of one connection, number `number` of all."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer

    async def request(self) -> bytes:
        """The next request's head; its body is read too."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                await self.reader.readexactly(int(line.partition(b":")[2]))
        return head

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def flood(self, piece: bytes) -> None:
        """Say it until the other end hangs up."""
        while True:
            await self.say(piece)

    async def hung_up(self) -> None:
        """Return when the other end has closed."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass


@dataclass
class Raw:
    """A server on a raw socket, and a transport to it."""

    url: httpx.URL
    transport: Transport
    connections: int = 0
    finished: int = 0
    """Connections whose `serve` has come to its end."""

    async def call(self, method: str = "POST", content: bytes = b"{}", seconds: float = SECONDS) -> Reply:
        return await self.transport.send(method, self.url, [("x-a", "b")], content, seconds)

    async def failure(self, seconds: float = SECONDS) -> ProviderError:
        with pytest.raises(ProviderError) as caught:
            await self.call(seconds=seconds)
        return caught.value


@asynccontextmanager
async def raw(serve: Serve, max_body_bytes: int = 1 << 20, memory: AnswerMemory | None = None) -> AsyncIterator[Raw]:
    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.connections += 1
        try:
            await serve(Line(running.connections, reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            running.finished += 1
            writer.close()

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    config = configured({"up": {"base_url": f"http://127.0.0.1:{port}/v1"}}, {})["up"]
    running = Raw(httpx.URL(f"{config.base_url}/x"), Transport(config, max_body_bytes=max_body_bytes, memory=memory))
    try:
        yield running
    finally:
        await running.transport.close()
        server.close()
        await until(lambda: running.finished == running.connections)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not holds():
            await asyncio.sleep(0.005)
