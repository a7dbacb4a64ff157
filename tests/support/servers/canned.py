"""A server that answers every request with the same bytes and keeps what it was sent, head and body."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

CERTIFICATE = Path(__file__).parent / "tls" / "localhost.pem"
CA_FILE = Path(__file__).parent / "tls" / "ca.pem"


@dataclass
class Canned:
    """`requests` holds each request as (head, body); a CONNECT is one with an empty body."""

    port: int
    requests: list[tuple[bytes, bytes]] = field(default_factory=list)


def http(body: bytes, *headers: str, status: str = "200 OK", media_type: str = "application/json") -> bytes:
    """An HTTP answer of these parts."""
    lines = [f"HTTP/1.1 {status}", f"content-type: {media_type}", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def canned(answer: bytes, *, tls: bool = False, tunnel_to: int = 0) -> AsyncIterator[Canned]:
    """Serve it on loopback. With `tunnel_to`, a CONNECT becomes a tunnel to that port."""
    context = None
    if tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(CERTIFICATE)
    running = Canned(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                body = await reader.readexactly(_length(head))
                running.requests.append((head, body))
                if head.startswith(b"CONNECT") and tunnel_to:
                    await _tunnel(reader, writer, tunnel_to)
                    return
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    running.port = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        server.close()


async def _tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    try:
        await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))
    finally:
        there_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0
