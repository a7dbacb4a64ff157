"""The input file: checked wholly before anything is submitted, then read again line by line. Never held in memory."""

from __future__ import annotations

import codecs
import hashlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from coatcheck.batch.errors import BadInput
from coatcheck.batch.ids import IdSet, fold
from coatcheck.batch.lines import Line, LineProblem, Options, read_line

LONGEST_LINE = 128 * 1024 * 1024
"""Bytes: room for a request body of 64 MB that carries a file as base64."""
PROBLEMS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Source:
    """An input file that was checked: every line is a request, every custom_id is there once."""

    path: Path
    options: Options
    total: int
    fingerprint: str

    def lines(self) -> Iterator[Line]:
        """The requests in the order of the file. Raises `BadInput` if the file changes meanwhile."""
        digest = hashlib.sha256()
        count = 0
        with self.path.open("rb") as file:
            for number, text in _numbered(file, self.path):
                digest.update(text)
                if text.strip():
                    count += 1
                    yield self._line(number, text)
        if (count, digest.hexdigest()) != (self.total, self.fingerprint):
            raise BadInput(f"{self.path} was changed while it was read")

    def _line(self, number: int, text: bytes) -> Line:
        try:
            return read_line(text, self.options)
        except LineProblem as problem:
            raise BadInput(f"{self.path}, line {number}: {problem}") from None


def check_source(path: Path, options: Options) -> Source:
    """Read the whole file once. `BadInput` names the first lines that are wrong, and repeated custom_ids."""
    digest = hashlib.sha256()
    folded = array("Q")
    problems: list[str] = []
    try:
        with path.open("rb") as file:
            for number, text in _numbered(file, path):
                digest.update(text)
                if not text.strip():
                    continue
                try:
                    folded.append(fold(read_line(text, options).custom_id))
                except LineProblem as problem:
                    problems.append(f"line {number}: {problem}")
                if len(problems) == PROBLEMS_SHOWN:
                    break
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from None
    if problems:
        raise BadInput(f"{path}: {'; '.join(problems)}. Nothing was submitted")
    if not folded:
        raise BadInput(f"{path} holds no requests")
    _refuse_repeated(path, options, IdSet(folded))
    return Source(path, options, len(folded), digest.hexdigest())


def _refuse_repeated(path: Path, options: Options, ids: IdSet) -> None:
    """Results are told apart by custom_id alone, so two lines must not share one."""
    suspects = set(ids.repeated())
    if not suspects:
        return
    first: dict[str, int] = {}
    with path.open("rb") as file:
        for number, text in _numbered(file, path):
            if not text.strip():
                continue
            custom_id = read_line(text, options).custom_id
            if fold(custom_id) not in suspects:
                continue
            if custom_id in first:
                lines = f"lines {first[custom_id]} and {number}"
                raise BadInput(f"{path}: custom_id {custom_id!r} is on {lines}; each must be unique")
            first[custom_id] = number


def _numbered(file: IO[bytes], path: Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    while text := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(text) > LONGEST_LINE:
            raise BadInput(f"{path}, line {number} is longer than {LONGEST_LINE // 2**20} MB")
        yield number, text.removeprefix(codecs.BOM_UTF8) if number == 1 else text
