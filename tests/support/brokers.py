"""The broker that tests run against: the embedded one, or Apache Kafka with `TEST_KAFKA=apache`."""

from __future__ import annotations

import os
from pathlib import Path

from coatcheck.dev.broker import Broker
from coatcheck.dev.child import Child
from tests.support.apache_kafka import ApacheKafka


class EmbeddedBroker:
    """The wheel's broker, with the methods of ApacheKafka. It forgets everything when it stops, topics included."""

    def __init__(self, directory: Path) -> None:
        self._broker = Broker(directory / "broker.log")
        self.bootstrap = self._broker.bootstrap
        self._child: Child | None = None

    def start(self) -> None:
        """Start it and wait until it has metadata; the port stays the same over restarts."""
        self._child = self._broker.start()
        self._broker.wait_ready(self._child)

    def stop(self) -> None:
        """SIGTERM, then wait."""
        if self._child is not None:
            self._child.stop(self._broker.stop_seconds)
            self._child = None

    def kill(self) -> None:
        """kill -9."""
        self._running().kill()
        self._child = None

    def pid(self) -> int:
        """Process id of the broker."""
        return self._running().pid

    def __enter__(self) -> EmbeddedBroker:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _running(self) -> Child:
        if self._child is None:
            raise RuntimeError("the broker does not run")
        return self._child


def apache_wanted() -> bool:
    """Whether this run asked for Apache Kafka. An empty variable, as make passes it on, asks for nothing."""
    wanted = os.environ.get("TEST_KAFKA") or "embedded"
    if wanted not in ("apache", "embedded"):
        raise RuntimeError(f"TEST_KAFKA={wanted}: use apache or embedded")
    return wanted == "apache"


def broker_under_test(directory: Path) -> EmbeddedBroker | ApacheKafka:
    """The broker that this run of the tests asked for, not started yet."""
    return ApacheKafka(directory) if apache_wanted() else EmbeddedBroker(directory)
