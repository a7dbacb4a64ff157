"""What a batch has done so far, so that the same command goes on after Ctrl-C, a crash or a lost connection. A
custom_id in the output or errors file is done. `<output>.journal` holds a random `run`, from which every line's
Idempotency-Key derives: what was in flight when a run ended is the same job in the next."""

from __future__ import annotations

import json
import os
import uuid
from array import array
from collections import Counter
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coatcheck.batch.lines import BadInput, IdSet, fold
from coatcheck.batch.outputs import LineFile

VERSION = 1


@dataclass(frozen=True, slots=True)
class Paths:
    """Where a batch writes. No two of these, nor the input, may be the same file."""

    output: Path
    errors: Path

    @property
    def journal(self) -> Path:
        return self.output.with_name(f"{self.output.name}.journal")

    @property
    def retried(self) -> Path:
        """Failures of earlier tries, which were tried again."""
        return self.errors.with_name(f"{self.errors.name}.retried")


def default_errors(output: Path) -> Path:
    """Where failures go unless told otherwise: beside the output under its name, as two batches may share a folder."""
    header = _read_header(Paths(output, output).journal)
    if header is not None and "errors" not in header:  # an older version had one for all batches of a folder
        return output.with_name("errors.jsonl")
    return output.with_name(f"{output.stem}.errors{output.suffix}")


class Journal(AbstractContextManager["Journal"]):
    """Open for as long as the batch runs. `done` are lines that need nothing more; `failed` are those in the errors."""

    def __init__(self, paths: Paths, fingerprint: str, *, retry_failed: bool = False) -> None:
        with ExitStack() as opened:
            self._output = opened.enter_context(LineFile(paths.output))
            self._errors = opened.enter_context(LineFile(paths.errors))
            self.run = self._begin(paths, fingerprint)
            self._attempts = self._retries(paths, retry_failed)
            output, errors = array("Q", self._output.folded_ids()), array("Q", self._errors.folded_ids())
            self.done, self.failed = len(output) + len(errors), len(errors)
            self._ended = IdSet(output + errors)
            self._files = opened.pop_all()

    def has(self, custom_id: str) -> bool:
        return custom_id in self._ended

    def attempt(self, custom_id: str) -> int:
        """How often the line has failed and is tried again; part of its key, so that it is a new job each time."""
        return self._attempts[fold(custom_id)]

    def complete(self, line: bytes) -> None:
        self._output.append(line)
        self.done += 1

    def fail(self, line: bytes) -> None:
        self._errors.append(line)
        self.done += 1
        self.failed += 1

    def _begin(self, paths: Paths, fingerprint: str) -> str:
        header = _read_header(paths.journal)
        if header is None:
            for file in (self._output, self._errors):
                if file.size:
                    raise BadInput(f"{file.path} is not empty and no batch has written it: give another name")
            header = {"version": VERSION, "run": str(uuid.uuid4()), "input_sha256": fingerprint}
            _write_header(paths.journal, header | {"errors": str(paths.errors)})
        if header.get("version") != VERSION:
            raise BadInput(f"{paths.journal} was written by another version of this command")
        if header["input_sha256"] != fingerprint:
            raise BadInput(f"{paths.output} belongs to another input, or the input was changed: give another output")
        self._output.repair()
        self._errors.repair()
        return str(header["run"])

    def _retries(self, paths: Paths, retry_failed: bool) -> Counter[int]:
        """Count how often each line was tried again; with `retry_failed`, all that failed are from now on."""
        if not paths.retried.exists() and not (retry_failed and self._errors.size):
            return Counter()
        with LineFile(paths.retried) as retried:
            retried.repair()
            if retry_failed:
                self._errors.move_to(retried)
            return Counter(retried.folded_ids())

    def __exit__(self, *_: object) -> None:
        with self._files:
            self._output.sync()
            self._errors.sync()
            if not self._errors.size:
                self._errors.path.unlink(missing_ok=True)


def _read_header(path: Path) -> dict[str, Any] | None:
    try:
        header = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot read {path}: {error}") from None
    if not isinstance(header, dict) or not {"version", "run", "input_sha256"} <= header.keys():
        raise BadInput(f"{path} is not the journal of a batch")
    return header


def _write_header(path: Path, header: dict[str, Any]) -> None:
    """Whole or not at all, and on the disk before anything is submitted under its run."""
    half = path.with_name(f"{path.name}.new")
    try:
        with half.open("wb") as file:
            file.write(json.dumps(header).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}") from None
