"""A real Apache Kafka broker, one node without ZooKeeper, that a test or a benchmark can kill and restart."""

from __future__ import annotations

from pathlib import Path

from coatcheck.dev.apache_kafka import READY_SECONDS, KafkaNode, install_jars, own_ports
from coatcheck.dev.child import Child

__all__ = ["ApacheKafka", "install_jars"]


class ApacheKafka:
    """Everything below `directory` belongs to it. Methods block; the port stays the same over restarts.

    Use it as a context manager, or call `start` and `stop`.
    """

    def __init__(self, directory: Path) -> None:
        self._node = KafkaNode(directory, 0, [own_ports()])
        self.bootstrap = self._node.bootstrap
        self._child: Child | None = None

    def start(self) -> None:
        """Format the data directory if it is new, start the broker and wait until it has metadata."""
        self._node.prepare()
        self._child = self._node.start()
        self._node.wait_ready(self._child)

    def stop(self) -> None:
        """SIGTERM, then wait."""
        if self._child is not None:
            self._child.stop(READY_SECONDS)
            self._child = None

    def kill(self) -> None:
        """kill -9."""
        self._running().kill()
        self._child = None

    @property
    def child(self) -> Child:
        """The process, once started."""
        return self._running()

    def pid(self) -> int:
        """Process id of the broker."""
        return self._running().pid

    def __enter__(self) -> ApacheKafka:
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
            raise RuntimeError("Apache Kafka does not run")
        return self._child
