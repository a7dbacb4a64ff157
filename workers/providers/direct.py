"""An httpx transport for plain HTTP/1.1 without a proxy, at half the CPU of the general ones."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator

import httpx

from workers.providers.connection import Connection, Origin
from workers.providers.connections import Connections

_SAFE_TO_REPEAT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
_PORTS = {"http": 80, "https": 443}


class DirectTransport(httpx.AsyncBaseTransport):
    """Sends a request whose content is in memory. The answer's stream must be closed, read or not."""

    def __init__(self, *, tls: ssl.SSLContext, connect_seconds: float) -> None:
        self.connections = Connections(tls, connect_seconds)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Make one exchange up to the head of its answer. Raises httpx.TransportError.

        A kept connection may have been closed at the far end as the request left. A request that may be made twice is
        then sent once more, unless anything of an answer came.
        """
        origin, head = _origin(request.url), _head(request)
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
        """Close all connections. Safe to call twice."""
        self.connections.close()


class _Body(httpx.AsyncByteStream):
    """The rest of an answer; closing gives the connection back."""

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


def _origin(url: httpx.URL) -> Origin:
    return Origin(url.scheme == "https", url.raw_host.decode("ascii"), url.port or _PORTS[url.scheme])


def _head(request: httpx.Request) -> bytes:
    """The request line and the headers. Raises ValueError when one would break into the next line."""
    lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    lines += [b"%b: %b" % header for header in request.headers.raw]
    head = b"\r\n".join(lines)
    if not head.count(b"\r") == head.count(b"\n") == len(lines) - 1 or b"\0" in head:
        raise ValueError("a header has a line break in it")
    return head + b"\r\n\r\n"
