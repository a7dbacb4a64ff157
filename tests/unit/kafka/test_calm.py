"""The client library's network client, calmed down. What that is good for shows in the contract tests."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
from kafka.errors import KafkaTimeoutError
from kafka.future import Future
from kafka.protocol.consumer import HeartbeatRequest

from shared.kafka.calm import SHORTEST_WAIT_MS, CalmClient


@pytest.fixture
def client() -> Iterator[CalmClient]:
    client = CalmClient(bootstrap_servers="127.0.0.1:1", api_version=(3, 9))
    yield client
    client.close()


def test_a_node_that_is_being_connected_is_looked_at_again_after_a_while(client: CalmClient) -> None:
    assert client.connection_delay("bootstrap-0") == SHORTEST_WAIT_MS


def test_the_delay_of_a_node_that_failed_is_in_milliseconds(client: CalmClient) -> None:
    for _ in range(8):
        client._manager.update_backoff("bootstrap-0")
    assert client.connection_delay("bootstrap-0") > 1000


def test_a_wait_of_nothing_takes_a_little(client: CalmClient) -> None:
    started = time.monotonic()
    with pytest.raises(KafkaTimeoutError):
        client._manager.run(client._manager.wait_for, Future(), 0)
    assert time.monotonic() - started >= SHORTEST_WAIT_MS / 1000


def test_an_event_ends_a_wait_at_once(client: CalmClient) -> None:
    done = Future()
    done.success("yes")
    assert client._manager.run(client._manager.wait_for, done, 0) == "yes"
    assert client._manager.run(client._manager.wait_for, done, None) == "yes"


def test_no_topic_comes_into_being_by_asking_for_it(client: CalmClient) -> None:
    client.cluster.add_topic("mistyped")
    assert client.cluster.metadata_request().allow_auto_topic_creation is False


def test_silence_ends_with_an_answered_heartbeat(client: CalmClient, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = Future()
    monkeypatch.setattr("kafka.net.manager.KafkaConnectionManager.send", lambda *_, **__: answered)
    time.sleep(0.05)
    assert client.silence() >= 0.05
    request = HeartbeatRequest(group_id="g", generation_id=1, member_id="m", group_instance_id=None)
    assert client._manager.send(request) is answered
    assert client.silence() >= 0.05
    answered.success(None)
    assert client.silence() < 0.05


def test_closing_closes_a_socket_that_is_not_a_connection_yet() -> None:
    client = CalmClient(bootstrap_servers="127.0.0.1:1", api_version=(3, 9))
    fresh = socket.socket()
    client._net.sockets.add(fresh)
    client.close()
    assert fresh.fileno() == -1
