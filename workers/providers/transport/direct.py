"""An httpx transport for plain HTTP/1.1 without a proxy, at half the CPU of the general ones, and its connections."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import aiohappyeyeballs
import httpx

from workers.providers.transport.connection import Connection, Origin

KEEPALIVE_SECONDS = 4.0
"""Below the 5 s after which uvicorn, and so vLLM, closes an idle connection, so that none closes under a call."""
_ADDRESS_SECONDS = 10.0
_NEXT_ADDRESS_SECONDS = 0.25
"""After this long without an answer the next address is tried beside it: IPv6 may lead nowhere."""
_TCP_KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
"""A quiet call of many minutes must not be forgotten by a NAT or load balancer on the way."""
_SAFE_TO_REPEAT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
_PORTS = {"http": 80, "https": 443}


class DirectTransport(httpx.AsyncBaseTransport):
    """Sends a request whose content is in memory. The answer's stream must be closed, read or not."""

    def __init__(self, *, tls: ssl.SSLContext, connect_seconds: float) -> None:
        self.connections = Connections(tls, connect_seconds)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Make one exchange up to the head of its answer. Raises httpx.TransportError.

        A kept connection may have been closed as the request left: one that may be made twice is sent once more.
        """
        url, head = request.url, _head(request)
        origin = Origin(url.scheme == "https", url.raw_host.decode("ascii"), url.port or _PORTS[url.scheme])
        content = request.content if isinstance(request.stream, httpx.ByteStream) else await request.aread()
        for last in (False, True):
            connection = await self.connections.borrow(origin)
            kept = connection.exchanges > 0
            try:
                await connection.exchange(head, content)
            except httpx.TransportError:
                self.connections.give_back(connection)
                if last or not kept or connection.heard or request.method not in _SAFE_TO_REPEAT:
                    raise
            except BaseException:
                self.connections.give_back(connection)
                raise
            else:
                stream = _Body(connection, self.connections)
                return httpx.Response(connection.status, headers=connection.headers, stream=stream)
        raise AssertionError  # the second time returns or raises

    async def aclose(self) -> None:
        self.connections.close()


class _Body(httpx.AsyncByteStream):
    def __init__(self, connection: Connection, connections: Connections) -> None:
        self._connection: Connection | None = connection
        self._connections = connections

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self._connection is not None and (piece := await self._connection.read()):
            yield piece

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._connections.give_back(connection)


def _head(request: httpx.Request) -> bytes:
    """The request line and the headers. Raises ValueError when one would break into the next line."""
    lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    lines += [b"%b: %b" % header for header in request.headers.raw]
    head = b"\r\n".join(lines)
    if not head.count(b"\r") == head.count(b"\n") == len(lines) - 1 or b"\0" in head:
        raise ValueError("a header has a line break in it")
    return head + b"\r\n\r\n"


class Connections:
    """Lends each connection to one exchange at a time. Who borrows how many at once is the caller's to bound."""

    def __init__(self, tls: ssl.SSLContext, connect_seconds: float) -> None:
        self._tls = tls
        self._connect_seconds = connect_seconds
        self._asking = asyncio.Lock()
        self._addresses: dict[tuple[str, int], tuple[float, list[Any]]] = {}
        self._idle: dict[Origin, deque[Connection]] = {}
        self._lent: set[Connection] = set()
        self._expiry: asyncio.TimerHandle | None = None
        self._closed = False
        self.connecting = 0

    @property
    def busy(self) -> int:
        return len(self._lent) + self.connecting

    async def borrow(self, origin: Origin) -> Connection:
        """The connection used last, or a new one. Raises httpx.ConnectTimeout, httpx.ConnectError."""
        line = self._idle.get(origin)
        oldest = asyncio.get_running_loop().time() - KEEPALIVE_SECONDS
        while line:
            connection = line.pop()
            if connection.reusable and connection.idle_since > oldest:
                self._lent.add(connection)
                return connection
            connection.abort()
        return await self._connect(origin)

    def give_back(self, connection: Connection) -> None:
        """Keep it for the next exchange, or close it when its last one did not come to a clean end."""
        self._lent.discard(connection)
        if self._closed or not connection.reusable:
            connection.abort()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.setdefault(connection.origin, deque()).append(connection)
        if self._expiry is None:
            self._expiry = loop.call_later(KEEPALIVE_SECONDS, self._expire)

    def close(self) -> None:
        self._closed = True
        if self._expiry is not None:
            self._expiry.cancel()
        for connection in [*self._lent, *(each for line in self._idle.values() for each in line)]:
            connection.abort()
        self._idle.clear()

    async def _connect(self, origin: Origin) -> Connection:
        self.connecting += 1
        try:
            async with asyncio.timeout(self._connect_seconds):
                connection = await self._open(origin)
        except TimeoutError:
            raise httpx.ConnectTimeout(f"no connection within {self._connect_seconds:g} s") from None
        except (OSError, RuntimeError) as error:  # uvloop raises RuntimeError for some states of a socket
            raise httpx.ConnectError(f"{origin.host}:{origin.port}: {words(error)}") from error
        finally:
            self.connecting -= 1
        self._lent.add(connection)
        return connection

    async def _open(self, origin: Origin) -> Connection:
        loop = asyncio.get_running_loop()
        found = await self._find(origin.host, origin.port)
        sock = await aiohappyeyeballs.start_connection(
            found, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS, interleave=1, socket_factory=make_socket
        )
        tls: dict[str, Any] = {"ssl": self._tls, "server_hostname": origin.host} if origin.encrypted else {}
        try:
            _, connection = await loop.create_connection(partial(Connection, origin), sock=sock, **tls)
        except BaseException:
            sock.close()
            raise
        return connection

    async def _find(self, host: str, port: int) -> list[Any]:
        """What getaddrinfo says, remembered for a moment, so that a thousand new connections ask once."""
        loop = asyncio.get_running_loop()
        async with self._asking:
            until, found = self._addresses.get((host, port), (0.0, []))
            if until < loop.time():
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                self._addresses[host, port] = loop.time() + _ADDRESS_SECONDS, found
            return found

    def _expire(self) -> None:
        """Close what has been idle for too long, and come back when the next one will have been."""
        self._expiry = None
        loop = asyncio.get_running_loop()
        oldest = loop.time() - KEEPALIVE_SECONDS
        for line in self._idle.values():
            while line and (line[0].idle_since <= oldest or not line[0].reusable):
                line.popleft().abort()
        first = min((line[0].idle_since for line in self._idle.values() if line), default=None)
        if first is not None:
            self._expiry = loop.call_at(first + KEEPALIVE_SECONDS, self._expire)


def make_socket(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol = address[:3]
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _TCP_KEEPALIVE:
        if hasattr(socket, name):  # not all of them on macOS
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made


def words(error: OSError | RuntimeError) -> str:
    """What went wrong, in the system's words."""
    if isinstance(error, ssl.SSLError):
        return f"TLS: {getattr(error, 'verify_message', '') or error.reason or error}"
    if isinstance(error, OSError) and not isinstance(error, socket.gaierror) and (error.errno or 0) > 0:
        return os.strerror(error.errno or 0)
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
