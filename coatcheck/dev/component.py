"""A component of the product as a child: the same command that an operator would run, ready when /readyz says so."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from coatcheck.dev.child import Child, ChildFailed
from coatcheck.dev.loopback import is_ready

READY_SECONDS = 60.0
INIT_SECONDS = 60.0
COMMAND = (sys.executable, "-m", "coatcheck.cli.main")


class Component:
    """One `coatcheck` command. `arguments` begin with its name; `ready_port` is where it answers /readyz."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        ready_port: int,
        stop_seconds: float,
        logs: Path,
        environ: Mapping[str, str],
        held: Sequence[int] = (),
        command: Sequence[str] = COMMAND,
    ) -> None:
        self.name = arguments[0]
        self.stop_seconds = stop_seconds
        self._command = [*command, *arguments]
        self._ready_port = ready_port
        self._log = logs / f"{self.name}.log"
        self._environ = environ
        self._held = held

    def start(self) -> Child:
        """Start it without waiting."""
        return Child(self.name, self._command, log=self._log, environ=self._environ, held=self._held)

    def wait_ready(self, child: Child) -> None:
        """Block until it says that it is ready. Raises ChildFailed."""
        child.wait_ready(lambda: is_ready(self._ready_port), READY_SECONDS)


def run_to_the_end(child: Child, timeout: float) -> None:
    """Block until a command that ends by itself has. Raises ChildFailed if it takes too long or fails."""
    code = child.wait(timeout)
    if code is None:
        raise ChildFailed(f"{child.name} did not end within {timeout:g} s{child.last_lines()}")
    if code != 0:
        raise ChildFailed(child.epitaph())
