"""Files that grow by whole lines: a line is there completely or not at all, also after a crash or a full disk."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from coatcheck.batch.lines import BadInput, Stopped, custom_id_of, fold

_CHUNK = 1024 * 1024


class LineFile(AbstractContextManager["LineFile"]):
    """A file opened for appending lines, by one process at a time. Opening changes nothing in it: `repair` does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise BadInput(f"cannot write {path}: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise BadInput(f"{path} is being written by another batch") from None
        self.size = os.fstat(self._file).st_size

    def repair(self) -> None:
        """Cut off a last line that was torn by a crash. Only for a file that a batch has written."""
        start, found = os.fstat(self._file).st_size, -1
        while start > 0 and found < 0:
            end, start = start, max(0, start - _CHUNK)
            found = os.pread(self._file, end - start, start).rfind(b"\n")
        self.size = start + found + 1
        os.ftruncate(self._file, self.size)

    def append(self, line: bytes) -> None:
        """Write one line with its line break. `Stopped` when it does not fit; the file is as it was then."""
        try:
            written = os.write(self._file, line)
            while written < len(line):
                written += os.write(self._file, line[written:])
        except OSError as error:
            os.ftruncate(self._file, self.size)
            raise Stopped(f"cannot write {self.path}: {error.strerror}") from None
        self.size += len(line)

    def lines(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            yield from file

    def folded_ids(self) -> Iterator[int]:
        """The custom_ids of all lines, folded. `BadInput` if a line was not written by a batch."""
        for number, line in enumerate(self.lines(), 1):
            try:
                yield fold(custom_id_of(line))
            except ValueError as error:
                raise BadInput(f"{self.path}, line {number} is not a line of a batch: {error}") from None

    def move_to(self, other: LineFile) -> None:
        """Append all lines to another file, then empty this one. A crash in between leaves them in both."""
        for line in self.lines():
            other.append(line)
        other.sync()
        os.ftruncate(self._file, 0)
        self.size = 0

    def sync(self) -> None:
        os.fsync(self._file)

    def __exit__(self, *_: object) -> None:
        os.close(self._file)
