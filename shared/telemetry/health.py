"""Whether a service's loop turned within so many seconds, and what keeps it from its work. Read by other threads."""

import asyncio
import time
from collections.abc import Callable, Sequence


class Health:
    """Whether the database answers is a matter of readiness alone: an outage must not restart the fleet."""

    def __init__(self, name: str, *, within: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self.started = asyncio.Event()
        """Set by the first beat."""
        self._within = within
        self._clock = clock
        self._last = clock()
        self._problems: dict[str, str] = {}

    def heartbeat(self) -> None:
        """The loop turned; called on that loop, every turn."""
        self._last = self._clock()
        if not self.started.is_set():
            self.started.set()

    def waiting(self) -> None:
        """The loop turns though the service cannot work yet: alive, not ready."""
        self._last = self._clock()

    def report(self, subject: str, problem: str | None) -> None:
        """What is wrong with `subject` (one of a few fixed words such as "mongodb"); None: all is well."""
        if problem is None:
            self._problems.pop(subject, None)
        else:
            self._problems[subject] = problem

    def stalled(self) -> list[str]:
        """Why this service should be restarted; empty while its loop turns."""
        silent = self._clock() - self._last
        return [f"{self.name}: its loop has not turned for {silent:.0f} s"] if silent > self._within else []

    def problems(self) -> list[str]:
        if not self.started.is_set():
            return [f"{self.name}: still starting"]
        return [f"{self.name}: {subject}: {problem}" for subject, problem in list(self._problems.items())]


def stalled(services: Sequence[Health]) -> list[str]:
    return [line for health in services for line in health.stalled()]


def problems(services: Sequence[Health]) -> list[str]:
    return [line for health in services for line in health.stalled() + health.problems()]
