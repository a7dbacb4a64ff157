"""The broker that tests run against: the embedded one, or Apache Kafka with `TEST_KAFKA=apache`."""

from __future__ import annotations

import os
from pathlib import Path

from coatcheck.dev.broker import Broker
from tests.support.servers.apache_kafka import ApacheKafka
from tests.support.servers.started import OneProcess


class EmbeddedBroker(OneProcess):
    """The wheel's broker, with the methods of ApacheKafka. It forgets everything when it stops, topics included."""

    stop_seconds = Broker.stop_seconds

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._broker = Broker(directory / "broker.log")
        self.bootstrap = self._broker.bootstrap

    def start(self) -> None:
        """Start it and wait until it has metadata; the port stays the same over restarts."""
        self._child = self._broker.start()
        self._broker.wait_ready(self._child)


def apache_wanted() -> bool:
    """Whether this run asked for Apache Kafka. An empty variable, as make passes it on, asks for nothing."""
    wanted = os.environ.get("TEST_KAFKA") or "embedded"
    if wanted not in ("apache", "embedded"):
        raise RuntimeError(f"TEST_KAFKA={wanted}: use apache or embedded")
    return wanted == "apache"


def broker_under_test(directory: Path) -> EmbeddedBroker | ApacheKafka:
    """The broker that this run of the tests asked for, not started yet."""
    return ApacheKafka(directory) if apache_wanted() else EmbeddedBroker(directory)
