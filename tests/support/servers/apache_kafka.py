"""A real Apache Kafka broker, one node without ZooKeeper, that a test or a benchmark can kill and restart."""

from __future__ import annotations

from pathlib import Path

from coatcheck.dev.apache_kafka import READY_SECONDS, KafkaNode, install_jars, own_ports
from tests.support.servers.started import OneProcess

__all__ = ["ApacheKafka", "install_jars"]


class ApacheKafka(OneProcess):
    """Everything below `directory` belongs to it. Methods block; the port stays the same over restarts."""

    stop_seconds = READY_SECONDS

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._node = KafkaNode(directory, 0, [own_ports()])
        self.bootstrap = self._node.bootstrap

    def start(self) -> None:
        """Format the data directory if it is new, start the broker and wait until it has metadata."""
        self._node.prepare()
        self._child = self._node.start()
        self._node.wait_ready(self._child)
