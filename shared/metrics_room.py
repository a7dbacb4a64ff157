"""Room for the counts that an edge's processes share: taken before they are written, so that a full disk kills nobody.

The metrics client writes to memory-mapped files with holes; where a hole cannot be filled the kernel ends the process.
"""

from __future__ import annotations

import logging
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

_SMALLEST_BYTES = 1 << 16
_ENTRY_BYTES = 64
"""More than an entry needs besides its key."""

log = logging.getLogger(__name__)


class RoomyDict(MmapedDict):
    """The client's file of counts. Without room for it they are kept in memory, and are not among what is exported."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        self._in_memory = not read_mode and not _has_room(filename, _SMALLEST_BYTES)
        if not self._in_memory:
            super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]
            return
        _warn(filename)
        with _file_in_memory() as path:
            super().__init__(path)  # type: ignore[no-untyped-call]

    def _init_value(self, key: str) -> None:
        """Called for a key that is not in the file yet; a full file is made twice as large."""
        full = self._used + len(key.encode()) + _ENTRY_BYTES > self._capacity
        if full and not self._in_memory and not _has_room(self._fname, 2 * self._capacity):
            _warn(self._fname)
            self._move_to_memory()
        super()._init_value(key)  # type: ignore[no-untyped-call]

    def _move_to_memory(self) -> None:
        known = bytes(self._m)
        self.close()  # type: ignore[no-untyped-call]
        self._in_memory = True
        with _file_in_memory() as path:
            self._f = path.open("a+b")
        self._f.write(known)
        self._f.flush()
        self._m = mmap.mmap(self._f.fileno(), self._capacity)


def use_it() -> None:
    """Let every metric that is declared from now on keep its counts in such files, if in files at all."""
    values.MmapedDict = RoomyDict  # type: ignore[attr-defined]


def _has_room(filename: str, size: int) -> bool:
    """Take this much room for a file, from its first byte on, and make the file if it is not there."""
    try:
        with FileIO(filename, "a+") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
    except OSError:
        return False
    return True


@contextmanager
def _file_in_memory() -> Iterator[Path]:
    """Where to open a new file that is nowhere but in memory and goes with whoever has it open."""
    descriptor = os.memfd_create("metrics")
    try:
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _warn(filename: str) -> None:
    log.warning("no room for %s: metrics of this process are not exported as long as it runs", filename)
