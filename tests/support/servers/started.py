"""What runs as long as its context does: servers that tests start, kill and start again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

from coatcheck.dev.child import Child


class Started(ABC):
    """Starts with its context and stops with it; a start that fails leaves nothing behind."""

    @abstractmethod
    def start(self) -> None:
        """Start it and wait until it answers."""

    @abstractmethod
    def stop(self) -> None:
        """SIGTERM, then wait; nothing if it does not run."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class OneProcess(Started):
    """A server of one process."""

    stop_seconds: float

    def __init__(self) -> None:
        self._child: Child | None = None

    @property
    def child(self) -> Child:
        """The process, once started. Raises RuntimeError before."""
        if self._child is None:
            raise RuntimeError(f"{type(self).__name__} does not run")
        return self._child

    def pid(self) -> int:
        """Its process id."""
        return self.child.pid

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop(self.stop_seconds)
            self._child = None

    def kill(self) -> None:
        """kill -9."""
        self.child.kill()
        self._child = None
