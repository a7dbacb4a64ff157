"""The one line that says how far a batch is, on stderr: rewritten in place on a terminal, now and then elsewhere."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

REDRAW_SECONDS = 0.2
LOG_SECONDS = 10.0


def progress_line(done: int, total: int, failed: int, errors: Path, seconds: float) -> str:
    """Such as `50,000/50,000  failed 3 (errors.jsonl)  00:41`."""
    minutes, rest = divmod(int(seconds), 60)
    failures = f"  failed {failed:,} ({errors.name})" if failed else ""
    return f"{done:,}/{total:,}{failures}  {minutes:02d}:{rest:02d}"


class ProgressLine:
    """Shows `text(seconds since the start)` until it is finished."""

    def __init__(self, text: Callable[[float], str], *, quiet: bool = False) -> None:
        self._text = text
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._began

    async def keep_up(self) -> None:
        """Show the line again and again, until cancelled."""
        while not self._quiet:
            await asyncio.sleep(REDRAW_SECONDS if self._terminal else LOG_SECONDS)
            self._write("\r" if self._terminal else "", "\x1b[K" if self._terminal else "\n")

    def note(self, text: str) -> None:
        """Say something on a line of its own."""
        sys.stderr.write(f"\r\x1b[K{text}\n" if self._terminal else f"{text}\n")

    def finish(self) -> None:
        """Show the line for the last time."""
        if not self._quiet:
            self._write("\r" if self._terminal else "", "\x1b[K\n" if self._terminal else "\n")

    def _write(self, before: str, after: str) -> None:
        sys.stderr.write(f"{before}{self._text(self.seconds)}{after}")
        sys.stderr.flush()
