"""Network client for kafka-python with its faults repaired. The only file that overrides parts of the library.

tests/unit/shared/kafka/test_patched_client.py holds for each override the source that it was written for: after an
upgrade of the library, see there whether the fault is still in it.
"""

import socket
import time
from typing import Any

from kafka.errors import KafkaError
from kafka.future import Future
from kafka.net.compat import KafkaNetClient
from kafka.net.inet import KafkaNetSocket
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from kafka.protocol.consumer import FetchRequest, HeartbeatRequest

SHORTEST_WAIT_MS = 50.0
"""Least wait where the library would not wait at all. An event ends the wait at once: no notification is later."""


class PatchedSelector(NetworkSelector):  # type: ignore[misc]  # the library carries no types
    """Remembers that its thread `crashed`: nothing works any more then.

    Gain: the consumer is replaced at once and not after 30 s without a heartbeat.
    """

    crashed = False

    def run_forever(self) -> None:
        try:
            super().run_forever()
        except BaseException:
            self.crashed = True
            raise


class ClosedSocket(KafkaNetSocket):  # type: ignore[misc]  # the library carries no types
    """The library leaves closing to the garbage collector, which is rare in our servers.

    Gain: a file descriptor a second while a broker refuses connections.
    """

    SCHEMES = ("direct",)
    URL = "direct://"
    """The `proxy_url` that selects this class."""

    async def sock_connect(
        self, net: NetworkSelector, sock: socket.socket, sockaddr: Any, timeout_at: float | None = None
    ) -> socket.socket:
        try:
            await super().sock_connect(net, sock, sockaddr, timeout_at=timeout_at)
        except BaseException:
            sock.close()
            raise
        return sock


class PatchedConnectionManager(KafkaConnectionManager):  # type: ignore[misc]  # the library carries no types
    def __init__(self, net: NetworkSelector, **configs: Any) -> None:
        super().__init__(net, **configs | {"proxy_url": ClosedSocket.URL})
        # The library does not pass this on from the arguments of its clients: it would create a mistyped topic.
        self.cluster.config["allow_auto_create_topics"] = False
        self.heartbeat_at = time.monotonic()
        """When one was last answered."""
        self.failure = ""
        """Why the last connection that failed could not be made."""
        self.fetch_wait_ms: int | None = None
        """How long fetches wait at the broker, from the next one on. The library fixes it for a consumer."""

    def get_connection(self, node_id: Any, **options: Any) -> Any:
        """The library only logs why a connection could not be made.

        Gain: the warning and `coatcheck init --check` name the cause, such as a wrong password.
        """
        connection = super().get_connection(node_id, **options)
        if not connection.init_future.is_done:
            connection.init_future.add_errback(self.note_failure)
        return connection

    async def wait_for(self, future: Future, timeout_ms: float | None) -> Any:
        """While a heartbeat is overdue, `poll` of the library asks for waits of 0 ms in a loop.

        Gain: 45 % of a core while a broker is frozen.
        """
        return await super().wait_for(future, None if timeout_ms is None else max(timeout_ms, SHORTEST_WAIT_MS))

    def send(self, request: Any, node_id: Any = None, request_timeout_ms: float | None = None) -> Future:
        """Gain: on the embedded broker, notifications after 8 ms instead of 26, at half the CPU of a short fixed wait.

        And a consumer that gets no answers is replaced: the metrics of the library tell when a heartbeat was sent.
        """
        if self.fetch_wait_ms is not None and isinstance(request, FetchRequest):
            request.max_wait_ms = self.fetch_wait_ms
        future = super().send(request, node_id=node_id, request_timeout_ms=request_timeout_ms)
        if isinstance(request, HeartbeatRequest):
            future.add_callback(self.note_heartbeat)
        return future

    def note_heartbeat(self, _response: Any) -> None:
        self.heartbeat_at = time.monotonic()

    def note_failure(self, error: BaseException) -> None:
        self.failure = (str(error) if isinstance(error, KafkaError) else repr(error))[:200]


class PatchedClient(KafkaNetClient):  # type: ignore[misc]  # the library carries no types
    def __init__(self, **configs: Any) -> None:
        self.net = PatchedSelector(**configs)
        self.manager = PatchedConnectionManager(self.net, **configs)
        super().__init__(net=self.net, manager=self.manager)

    def seconds_since_heartbeat(self) -> float:
        """Since one was answered, or since this client was made."""
        return time.monotonic() - self.manager.heartbeat_at

    def connection_delay(self, node_id: Any) -> float:
        """The library answers in seconds where its producer expects milliseconds, and 0 while it connects.

        Gain: 15 to 118 % of a core, in the producer's thread, while a frozen broker accepts connections and is silent.
        """
        return max(float(super().connection_delay(node_id)) * 1000, SHORTEST_WAIT_MS)


class ClientMaker:
    """The `kafka_client` argument of the library: makes the network client and keeps it for us to look at."""

    client: PatchedClient | None = None

    def __call__(self, **configs: Any) -> PatchedClient:
        self.client = PatchedClient(**configs)
        return self.client
