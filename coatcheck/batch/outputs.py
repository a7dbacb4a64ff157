"""Files that grow by whole lines: a line is there completely or not at all, also after a crash or a full disk."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from coatcheck.batch.errors import BadInput, Stopped
from coatcheck.batch.ids import fold
from coatcheck.batch.lines import custom_id_of

_CHUNK = 1024 * 1024


class LineFile:
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
        self.size = whole_lines(self._file)
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
        """All lines, from the start, without holding more than one."""
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

    def remove_if_empty(self) -> None:
        """Leave no empty file behind."""
        if self.size == 0:
            self.path.unlink(missing_ok=True)

    def sync(self) -> None:
        """Wait until the disk has all lines."""
        os.fsync(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)


def whole_lines(file: int) -> int:
    """Bytes up to and with the last line break."""
    end = os.fstat(file).st_size
    while end > 0:
        start = max(0, end - _CHUNK)
        found = os.pread(file, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
