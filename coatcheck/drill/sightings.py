"""What the clients of a drill were told, request by request, in little memory: for rates, delays and odd answers."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

NO_ANSWER = 0
"""Stands for a status when the connection failed or nothing came in time."""

_MOST_SHOWN = 20
_VARYING = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9]+(\.[0-9]+)?")


@dataclass(slots=True)
class Sightings:
    """Submits are kept one by one, as (monotonic time, status, seconds it took); polls are only counted."""

    polls: Counter[int] = field(default_factory=Counter)
    odd: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    """Why jobs failed, as they say; ids and numbers are left out."""
    _times: array[float] = field(default_factory=lambda: array("d"))
    _statuses: array[int] = field(default_factory=lambda: array("H"))
    _took: array[float] = field(default_factory=lambda: array("f"))

    def submitted(self, at: float, status: int, took: float) -> None:
        """Note the answer to a submit that was sent at `at`."""
        self._times.append(at)
        self._statuses.append(status)
        self._took.append(took)

    def note_odd(self, what: str) -> None:
        """Note an answer that nobody should get, whatever is broken."""
        if what in self.odd or len(self.odd) < _MOST_SHOWN:
            self.odd[what] += 1

    def failed(self, why: str) -> None:
        """Note why a job failed."""
        reason = _VARYING.sub("#", why)[:200]
        if reason in self.reasons or len(self.reasons) < _MOST_SHOWN:
            self.reasons[reason] += 1

    def submits(self, first: float = 0.0, last: float = float("inf")) -> Iterator[tuple[float, int, float]]:
        """The submits sent between two moments."""
        for at, status, took in zip(self._times, self._statuses, self._took, strict=True):
            if first <= at <= last:
                yield at, status, took
