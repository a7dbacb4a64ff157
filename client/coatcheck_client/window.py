"""What `map` holds in flight, without any I/O: what may start, what may leave, what to report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from coatcheck_client.errors import CoatcheckError, JobFailed
from coatcheck_client.job import Job
from coatcheck_client.submission import Submission


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the request at `index`: a completed job, or `error`.

    A failed job has both, `job` and a `JobFailed`; a request that was refused or never ended has only the error.
    """

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
    """The outcome of a job that ended."""
    return Outcome(index, submission, job, JobFailed(job) if job.status == "failed" else None)


@dataclass(slots=True)
class Window:
    """At most `size` requests between start and leaving.

    In order, an outcome that came early waits and keeps its place, so memory is bounded even if the first is slowest.
    """

    size: int
    ordered: bool
    total: int | None = None
    progress: ProgressCallback | None = None
    started: int = 0
    done: int = 0
    left: int = 0
    failed: int = 0
    early: dict[int, Outcome] = field(default_factory=dict)

    def start(self) -> int:
        """Take a place and get the index of the request that fills it."""
        self.started += 1
        return self.started - 1

    def has_room(self) -> bool:
        """Whether one more may start."""
        return self.started - self.left < self.size

    def is_empty(self) -> bool:
        """Whether all that started has left."""
        return self.started == self.left

    def arrive(self, outcome: Outcome) -> Iterator[Outcome]:
        """Take an outcome in, report it, and give out what may leave now."""
        self.done += 1
        self.failed += outcome.error is not None
        if self.progress is not None:
            self.progress(Progress(self.done, self.failed, self.started - self.done, self.total))
        self.early[outcome.index if self.ordered else self.left] = outcome
        while self.left in self.early:
            self.left += 1
            yield self.early.pop(self.left - 1)


def open_window(size: int, ordered: bool, requests: object, progress: ProgressCallback | None) -> Window:
    """A window over these requests; `ValueError` unless at least one may be in flight."""
    if size < 1:
        raise ValueError("in_flight must be at least 1")
    return Window(size, ordered, len(requests) if isinstance(requests, Sized) else None, progress)
