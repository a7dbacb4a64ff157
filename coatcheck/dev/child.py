"""A child process: dies with us, is ready when it answers, explains its death. All this blocks."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PARENT_DEATH_WATCH = Path(__file__).with_name("parent_death_watch.py")
LOG_BYTES = 8 * 1024 * 1024
POLL_SECONDS = 0.02
TAIL_BYTES = 16 * 1024


class ChildFailed(Exception):
    """A child ended by itself or did not answer in time; the message holds the last lines of its log."""


class ProgramMissing(Exception):
    """A program that the stack needs is neither on PATH nor among the installed packages."""


def packaged(package: str, *parts: str, missing: str) -> Path:
    """A program that came in an installed Python package. Raises ProgramMissing with the words `missing`."""
    found = importlib.util.find_spec(package)
    for folder in (found and found.submodule_search_locations) or ():
        binary = Path(folder, *parts)
        if binary.is_file():
            return binary
    raise ProgramMissing(missing)


class Child:
    """One running process. Its output goes to `log`, which is emptied first and kept under 2 x LOG_BYTES. The child
    keeps the file descriptors `held` open for as long as it lives."""

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
        log.write_bytes(b"")
        with log.open(
            "ab"
        ) as output:  # append mode: the child goes on at the new end after trim_log has truncated the file
            self._process = subprocess.Popen(
                [sys.executable, "-IS", PARENT_DEATH_WATCH, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environ,
                pass_fds=held,
                start_new_session=True,  # Ctrl-C reaches only us; we stop the children in order
            )

    @property
    def pid(self) -> int:
        """Of the command itself, which is also the id of its process group."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Negative for a signal; None while it runs."""
        return self._process.poll()

    def wait_ready(self, answers: Callable[[], bool], timeout: float) -> None:
        give_up = time.monotonic() + timeout
        while True:
            if self.exit_code is not None:
                raise ChildFailed(self.epitaph())
            if answers():
                return
            if time.monotonic() > give_up:
                raise ChildFailed(f"{self.name} did not answer within {timeout:g} s{self.last_lines()}")
            time.sleep(POLL_SECONDS)

    def stop(self, timeout: float) -> bool:
        """Ask it to stop; after `timeout` seconds kill its whole group. True if it stopped when asked."""
        self.signal(signal.SIGTERM)
        if self.wait(timeout) is not None:
            return True
        self.kill()
        return False

    def wait(self, timeout: float) -> int | None:
        """Wait for it to end by itself; its exit code, None if it still runs after `timeout` seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)
        return self.exit_code

    def kill(self) -> None:
        # macOS raises PermissionError for a group of which only zombies are left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process; nothing happens if it has ended."""
        self._process.send_signal(number)

    def trim_log(self) -> None:
        """Above LOG_BYTES, move the log's end to `<log>.1` and start over."""
        if self.log.stat().st_size > LOG_BYTES:
            self.log.with_suffix(".log.1").write_bytes(self.log.read_bytes()[-LOG_BYTES:])
            os.truncate(self.log, 0)

    def epitaph(self) -> str:
        code = self.exit_code
        how = f"was killed by {signal.Signals(-code).name}" if code and code < 0 else f"ended with exit code {code}"
        return f"{self.name} {how}{self.last_lines()}"

    def last_lines(self, count: int = 12) -> str:
        """The end of its log, worded to follow a sentence."""
        with self.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()[-count:]
        return "\n  ".join([f"; last lines of {self.log}:", *lines]) if lines else f" ({self.log} is empty)"
