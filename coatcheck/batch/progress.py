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
    """Such as `50,000/50,000  failed 3 (results.errors.jsonl)  00:41`."""
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
        return time.monotonic() - self._began

    async def keep_up(self) -> None:
        while not self._quiet:
            await asyncio.sleep(REDRAW_SECONDS if self._terminal else LOG_SECONDS)
            self._show("" if self._terminal else "\n")

    def note(self, text: str) -> None:
        sys.stderr.write(f"\r\x1b[K{text}\n" if self._terminal else f"{text}\n")

    def finish(self) -> None:
        if not self._quiet:
            self._show("\n")

    def _show(self, end: str) -> None:
        line = self._text(self.seconds)
        sys.stderr.write(f"\r{line}\x1b[K{end}" if self._terminal else f"{line}{end}")
        sys.stderr.flush()
