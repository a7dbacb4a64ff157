"""Asks a broker whether it is there."""

from __future__ import annotations

import socket

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from shared.kafka.calm import ClientMaker

_CALL_SECONDS = 1.0


def broker_answers(bootstrap: str) -> bool:
    """Whether the unsecured broker at host:port answers a metadata request and names a broker ready for work.

    Blocks for two seconds at most.
    """
    return _accepts(bootstrap) and _has_metadata(bootstrap)


def _accepts(bootstrap: str) -> bool:
    """Asked first: the client turns a refused connection into a wait of its whole time-out."""
    host, port = bootstrap.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), _CALL_SECONDS).close()
    except OSError:
        return False
    return True


def _has_metadata(bootstrap: str) -> bool:
    milliseconds = int(_CALL_SECONDS * 1000)
    maker = ClientMaker()
    try:
        admin = KafkaAdminClient(
            bootstrap_servers=bootstrap,
            kafka_client=maker,
            api_version=(3, 9),  # given, so that no time is spent on guessing it
            bootstrap_timeout_ms=milliseconds,
            request_timeout_ms=milliseconds,
        )
        return bool(admin.describe_cluster()["brokers"])
    except KafkaError:
        return False
    finally:
        # An admin client that could not be made is not there to be closed; its network thread and its socket are.
        if maker.client is not None:
            maker.client.close()
