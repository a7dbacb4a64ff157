"""What `map` holds in flight, without any I/O: what may start, what may leave, what to report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass
from typing import Any, TypeAlias

from coatcheck_client.errors import CoatcheckError, JobFailed
from coatcheck_client.job import Job
from coatcheck_client.submission import Submission


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the request at `index`: a completed job, a failed one with its `JobFailed`, or an error alone."""

    index: int
    submission: Submission
    job: Job | None = None
    error: CoatcheckError | None = None

    @property
    def result(self) -> Any:
        """The job's result; raises the error if there is none."""
        if self.error is not None:
            raise self.error
        return self.job.result if self.job is not None else None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a `map` is; `total` is known when its input has a length."""

    done: int
    failed: int
    in_flight: int
    total: int | None


ProgressCallback: TypeAlias = Callable[[Progress], object]


def outcome_of(index: int, submission: Submission, job: Job) -> Outcome:
    return Outcome(index, submission, job, None if job.succeeded else JobFailed(job))


class Window:
    """At most `size` requests between start and leaving. In order, an outcome that came early waits and keeps its
    place, so memory is bounded even if the first is slowest."""

    def __init__(
        self, size: int, ordered: bool, requests: object = None, progress: ProgressCallback | None = None
    ) -> None:
        if size < 1:
            raise ValueError("in_flight must be at least 1")
        self._size = size
        self._ordered = ordered
        self._total = len(requests) if isinstance(requests, Sized) else None
        self._progress = progress
        self.started = self._done = self._left = self._failed = 0
        self._early: dict[int, Outcome] = {}

    def start(self) -> int:
        self.started += 1
        return self.started - 1

    def has_room(self) -> bool:
        return self.started - self._left < self._size

    def is_empty(self) -> bool:
        return self.started == self._left

    def arrive(self, outcome: Outcome) -> Iterator[Outcome]:
        """Take an outcome in, report it, and give out what may leave now."""
        self._done += 1
        self._failed += outcome.error is not None
        if self._progress is not None:
            self._progress(Progress(self._done, self._failed, self.started - self._done, self._total))
        self._early[outcome.index if self._ordered else self._left] = outcome
        while self._left in self._early:
            self._left += 1
            yield self._early.pop(self._left - 1)
