"""The library's network client without its two busy loops and its socket leak, and with a pulse that tells whether the
group answers."""

from __future__ import annotations

import socket
import time
import weakref
from typing import Any

from kafka import KafkaConsumer
from kafka.errors import KafkaError
from kafka.future import Future
from kafka.net.compat import KafkaNetClient
from kafka.net.inet import KafkaNetSocket
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from kafka.protocol.consumer import HeartbeatRequest

SHORTEST_WAIT_MS = 50.0
"""Least time to wait where the library would not wait at all. An event (a record, an ack, a connection) still ends the
wait at once, so this bounds idle turns per second and adds nothing to the time a bell takes."""


class CalmSelector(NetworkSelector):  # type: ignore[misc]  # the library carries no types
    """Closes with itself every socket that was opened for it.

    The library closes those of its connections, and forgets one that has just connected and is not a connection yet.
    """

    def __init__(self, **configs: Any) -> None:
        super().__init__(**configs)
        self.sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def close(self) -> None:
        """Close what waits, then the sockets."""
        super().close()
        for sock in list(self.sockets):
            sock.close()


class ClosedSocket(KafkaNetSocket):  # type: ignore[misc]  # the library carries no types
    """Connects without a proxy, and closes the socket of a connection that fails.

    The library leaves that to the garbage collector. With the collector made rare, as in our servers, a broker that
    refuses connections costs a file descriptor a second.
    """

    SCHEMES = ("direct",)
    URL = "direct://"
    """The `proxy_url` that selects this class."""

    async def sock_connect(
        self, net: CalmSelector, sock: socket.socket, sockaddr: Any, timeout_at: float | None = None
    ) -> socket.socket:
        """Connect `sock` and return it."""
        net.sockets.add(sock)
        try:
            await super().sock_connect(net, sock, sockaddr, timeout_at=timeout_at)
        except BaseException:
            sock.close()
            raise
        return sock


class CalmManager(KafkaConnectionManager):  # type: ignore[misc]  # the library carries no types
    """Waits at least a little.

    A consumer whose heartbeat is overdue (a frozen broker) asks for waits of 0 ms in a loop: half a core and more.
    """

    def __init__(self, net: NetworkSelector, **configs: Any) -> None:
        super().__init__(net, **configs | {"proxy_url": ClosedSocket.URL})
        # The library does not hand this on from its clients' arguments: a mistyped topic would come into being.
        self.cluster.config["allow_auto_create_topics"] = False
        self.heartbeat_at = time.monotonic()
        self.failure = ""

    def get_connection(self, node_id: Any, **options: Any) -> Any:
        """The connection to a node, made if there is none; remembers why one could not be made."""
        known = node_id in self._conns
        connection = super().get_connection(node_id, **options)
        if not known:
            connection.init_future.add_errback(self._note_failure)
        return connection

    async def wait_for(self, future: Future, timeout_ms: float | None) -> Any:
        """Await `future` for `timeout_ms`, at least SHORTEST_WAIT_MS. Raises KafkaTimeoutError."""
        return await super().wait_for(future, None if timeout_ms is None else max(timeout_ms, SHORTEST_WAIT_MS))

    def send(self, request: Any, node_id: Any = None, request_timeout_ms: float | None = None) -> Future:
        """Send a request and note when a heartbeat is answered."""
        future = super().send(request, node_id=node_id, request_timeout_ms=request_timeout_ms)
        if isinstance(request, HeartbeatRequest):
            future.add_callback(self._note_heartbeat)
        return future

    def _note_heartbeat(self, _response: Any) -> None:
        self.heartbeat_at = time.monotonic()

    def _note_failure(self, error: BaseException) -> None:
        self.failure = (str(error) if isinstance(error, KafkaError) else repr(error))[:200]


class CalmClient(KafkaNetClient):  # type: ignore[misc]  # the library carries no types
    """Network client for a producer, a consumer or an admin client."""

    def __init__(self, **configs: Any) -> None:
        net = CalmSelector(**configs)
        super().__init__(net=net, manager=CalmManager(net, **configs))

    def silence(self) -> float:
        """Seconds since a heartbeat was answered, or since this client was made."""
        return time.monotonic() - float(self._manager.heartbeat_at)

    def failure(self) -> str:
        """Why the last connection that failed could not be made; empty if none failed."""
        return str(self._manager.failure)

    def connection_delay(self, node_id: Any) -> float:
        """Milliseconds until the producer shall look at a node that is not connected.

        The library answers in seconds where its producer expects milliseconds, and 0 while a connection is being
        made: the producer's thread spins for as long as a frozen broker accepts connections and says nothing.
        """
        return max(float(super().connection_delay(node_id)) * 1000, SHORTEST_WAIT_MS)


class ClientMaker:
    """What the library takes as `kafka_client`: makes the network client, and keeps it for us to look at."""

    client: CalmClient | None = None

    def __call__(self, **configs: Any) -> CalmClient:
        self.client = CalmClient(**configs)
        return self.client


def set_fetch_wait(consumer: KafkaConsumer, milliseconds: int) -> None:
    """Change how long the fetches of a consumer wait at the broker, from the next one on: the library fixes it."""
    consumer._fetcher.config["fetch_max_wait_ms"] = milliseconds
