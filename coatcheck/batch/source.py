"""The input file: checked wholly before anything is submitted, then read again line by line. Never held in memory."""

from __future__ import annotations

import codecs
import hashlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from coatcheck.batch.lines import BadInput, IdSet, Line, LineProblem, Options, fold, read_line

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
        digest, count = hashlib.sha256(), 0
        for number, text in _requests(self.path, digest.update):
            count += 1
            try:
                line = read_line(text, self.options)
            except LineProblem as problem:
                raise BadInput(f"{self.path}, line {number}: {problem}") from None
            yield line
        if (count, digest.hexdigest()) != (self.total, self.fingerprint):
            raise BadInput(f"{self.path} was changed while it was read")


def check_source(path: Path, options: Options) -> Source:
    """Read the whole file once. `BadInput` names the first lines that are wrong, and repeated custom_ids."""
    digest, folded = hashlib.sha256(), array("Q")
    problems: list[str] = []
    try:
        for number, text in _requests(path, digest.update):
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
    _refuse_repeated(path, options, set(IdSet(folded).repeated()))
    return Source(path, options, len(folded), digest.hexdigest())


def _refuse_repeated(path: Path, options: Options, suspects: set[int]) -> None:
    """Results are told apart by custom_id alone, so two lines must not share one."""
    first: dict[str, int] = {}
    for number, text in _requests(path, hashlib.sha256().update) if suspects else ():
        custom_id = read_line(text, options).custom_id
        if custom_id in first:
            lines = f"lines {first[custom_id]} and {number}"
            raise BadInput(f"{path}: custom_id {custom_id!r} is on {lines}; each must be unique")
        if fold(custom_id) in suspects:
            first[custom_id] = number


def _requests(path: Path, digest: Callable[[bytes], None]) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers. `digest` gets the blank ones too."""
    number = 0
    with path.open("rb") as file:
        while text := file.readline(LONGEST_LINE + 1):
            number += 1
            if len(text) > LONGEST_LINE:
                raise BadInput(f"{path}, line {number} is longer than {LONGEST_LINE // 2**20} MB")
            if number == 1:
                text = text.removeprefix(codecs.BOM_UTF8)
            digest(text)
            if text.strip():
                yield number, text
