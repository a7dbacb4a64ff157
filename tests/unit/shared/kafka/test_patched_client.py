"""The repaired network client: what each override does, and the source of the library that it was written for."""

from __future__ import annotations

import hashlib
import inspect
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from kafka.errors import KafkaTimeoutError
from kafka.future import Future
from kafka.net.compat import KafkaNetClient
from kafka.net.inet import KafkaNetSocket
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector
from kafka.producer.sender import Sender
from kafka.protocol.consumer import FetchRequest, HeartbeatRequest

from shared.kafka.patched_client import SHORTEST_WAIT_MS, ClosedSocket, PatchedClient

WRITTEN_FOR = {
    NetworkSelector.run_forever: "8ab046a3410b",
    KafkaNetSocket.sock_connect: "36c15b0ce919",
    KafkaConnectionManager.__init__: "6f9e40f17413",
    KafkaConnectionManager.get_connection: "e18f019d1fbd",
    KafkaConnectionManager.wait_for: "f0ea73bf014c",
    KafkaConnectionManager.send: "c6bc4e3773c3",
    KafkaNetClient.__init__: "9d5a78ad19c3",
    KafkaNetClient.connection_delay: "9eaf02d70319",
}
"""What we override, and the SHA-256 of its source in kafka-python 3.0.12, shortened."""


@pytest.fixture
def client() -> Iterator[PatchedClient]:
    client = PatchedClient(bootstrap_servers="127.0.0.1:1", api_version=(3, 9))
    yield client
    client.close()


@pytest.mark.parametrize("overridden", WRITTEN_FOR, ids=lambda method: method.__qualname__)
def test_the_library_is_the_one_that_the_override_was_written_for(overridden: object) -> None:
    source = inspect.getsource(overridden)  # type: ignore[arg-type]
    found = hashlib.sha256(source.encode()).hexdigest()[:12]
    assert found == WRITTEN_FOR[overridden], (
        "kafka-python changed what patched_client.py overrides: is the fault still there? Delete or adapt "
        "the override, run tests/contract/notifications with both brokers, then enter the new hash"
    )


def test_the_library_still_gives_its_producer_seconds_for_milliseconds(client: PatchedClient) -> None:
    client.manager.update_backoff("bootstrap-0")
    assert KafkaNetClient.connection_delay(client, "bootstrap-0") < 1
    assert "node_delay_ms = self._client.connection_delay(node)" in inspect.getsource(Sender)


def test_the_library_still_does_not_close_a_socket_that_is_refused() -> None:
    assert ".close()" not in inspect.getsource(KafkaNetSocket)


def test_a_node_that_is_being_connected_is_looked_at_again_after_a_while(client: PatchedClient) -> None:
    assert client.connection_delay("bootstrap-0") == SHORTEST_WAIT_MS


def test_the_delay_of_a_node_that_failed_is_in_milliseconds(client: PatchedClient) -> None:
    for _ in range(8):
        client.manager.update_backoff("bootstrap-0")
    assert client.connection_delay("bootstrap-0") > 1000


def test_a_wait_of_nothing_takes_a_little(client: PatchedClient) -> None:
    started = time.monotonic()
    with pytest.raises(KafkaTimeoutError):
        client.manager.run(client.manager.wait_for, Future(), 0)
    assert time.monotonic() - started >= SHORTEST_WAIT_MS / 1000


def test_an_event_ends_a_wait_at_once(client: PatchedClient) -> None:
    done = Future()
    done.success("yes")
    assert client.manager.run(client.manager.wait_for, done, 0) == "yes"
    assert client.manager.run(client.manager.wait_for, done, None) == "yes"


def test_a_socket_whose_connection_is_refused_is_closed(client: PatchedClient) -> None:
    with socket.socket() as taken, socket.socket() as ours:
        taken.bind(("127.0.0.1", 0))  # and never listens
        ours.setblocking(False)
        with pytest.raises(Exception, match="ECONNREFUSED"):
            client.net.run(ClosedSocket().sock_connect, client.net, ours, taken.getsockname())
        assert ours.fileno() == -1


def test_no_topic_is_created_by_asking_for_it(client: PatchedClient) -> None:
    client.cluster.add_topic("mistyped")
    assert client.cluster.metadata_request().allow_auto_topic_creation is False


def test_the_reason_of_a_failed_connection_is_remembered(client: PatchedClient) -> None:
    assert client.manager.failure == ""
    with pytest.raises(KafkaTimeoutError):
        client.manager.bootstrap(timeout_ms=200)
    assert "ECONNREFUSED" in client.manager.failure


def test_the_time_of_an_answered_heartbeat_is_noted(client: PatchedClient, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = Future()
    monkeypatch.setattr(KafkaConnectionManager, "send", lambda *_, **__: answered)
    client.manager.heartbeat_at -= 5
    request = HeartbeatRequest(group_id="g", generation_id=1, member_id="m", group_instance_id=None)
    assert client.manager.send(request) is answered
    assert client.seconds_since_heartbeat() >= 5
    answered.success(None)
    assert client.seconds_since_heartbeat() < 5


def test_a_fetch_waits_at_the_broker_as_long_as_was_set_last(
    client: PatchedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KafkaConnectionManager, "send", lambda *_, **__: Future())
    request = FetchRequest(max_wait_ms=500, min_version=4, max_version=12)
    client.manager.send(request)
    assert request.max_wait_ms == 500
    client.manager.fetch_wait_ms = 20
    client.manager.send(request)
    assert request.max_wait_ms == 20
    assert b"\x00\x00\x00\x14" in request.encode(version=12)


def test_a_thread_of_the_library_that_ends_by_an_error_is_noticed(
    client: PatchedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_net: object) -> None:
        raise ValueError("selector closed")

    monkeypatch.setattr(NetworkSelector, "run_forever", fail)
    assert not client.net.crashed
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    client.net.start()
    client.net.stop()
    assert client.net.crashed
