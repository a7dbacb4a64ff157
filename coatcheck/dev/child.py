"""A child process of the development stack: dies with us, is ready when it answers, and explains its death.

Everything here blocks; an event loop calls it in a thread.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

TETHER = Path(__file__).with_name("tether.py")
LOG_BYTES = 8 * 1024 * 1024
POLL_SECONDS = 0.02
TAIL_BYTES = 16 * 1024


class ChildFailed(Exception):
    """A child ended by itself or did not answer in time; the message holds the last lines of its log."""


class ProgramMissing(Exception):
    """A program that the stack needs is neither on PATH nor among the installed packages."""


class Child:
    """One running process. Its output goes to `log`, which is emptied first and kept under 2 x LOG_BYTES.

    `held` are open file descriptors that the child keeps open for as long as it lives.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        environ: Mapping[str, str] | None = None,
        held: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb"):
            pass
        with log.open("ab") as output:  # append mode, so that trim_log may truncate behind the writer's back
            self._process = subprocess.Popen(
                [sys.executable, "-IS", TETHER, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environ,
                pass_fds=held,
                start_new_session=True,  # Ctrl-C reaches only us; we stop the children in order
            )

    @property
    def pid(self) -> int:
        """Process id of the command itself, which is also the id of its process group."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def wait_ready(self, answers: Callable[[], bool], timeout: float) -> None:
        """Block until `answers()` is true. Raises ChildFailed."""
        began = time.monotonic()
        while True:
            if self.exit_code is not None:
                raise ChildFailed(self.epitaph())
            if answers():
                return
            if time.monotonic() - began > timeout:
                raise ChildFailed(f"{self.name} did not answer within {timeout:g} s{self.last_lines()}")
            time.sleep(POLL_SECONDS)

    def stop(self, timeout: float) -> bool:
        """Ask it to stop and wait; after `timeout` seconds kill its whole group. True if it stopped when asked."""
        self.signal(signal.SIGTERM)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        return True

    def wait(self, timeout: float) -> int | None:
        """Wait for it to end by itself; its exit code, None if it still runs after `timeout` seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)
        return self.exit_code

    def kill(self) -> None:
        """kill -9 the process and what it started, and wait for it."""
        # macOS says PermissionError when the whole group has ended and nobody has waited for it yet.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process; nothing happens if it has ended."""
        self._process.send_signal(number)

    def trim_log(self) -> None:
        """Keep the log bounded: move what is above LOG_BYTES to `<log>.1` and start over."""
        if self.log.stat().st_size > LOG_BYTES:
            self.log.with_suffix(".log.1").write_bytes(self.log.read_bytes()[-LOG_BYTES:])
            os.truncate(self.log, 0)

    def epitaph(self) -> str:
        """How it ended, with the last lines of its log."""
        code = self.exit_code
        how = f"was killed by {signal.Signals(-code).name}" if code and code < 0 else f"ended with exit code {code}"
        return f"{self.name} {how}{self.last_lines()}"

    def last_lines(self, count: int = 12) -> str:
        """The end of its log, worded to follow a sentence."""
        with self.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()[-count:]
        if not lines:
            return f" ({self.log} is empty)"
        return f"; last lines of {self.log}:\n" + "\n".join(f"  {line}" for line in lines)
