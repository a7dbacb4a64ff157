"""When the next poll of a job is worth while: told by how long jobs of its kind have taken lately."""

from __future__ import annotations

import math

_SHARE = 0.25
"""A quarter of the jobs are quicker than the time that is told, so few results lie there unread for long."""
_STEP = 0.2
LONGEST_HINT = 5
"""Seconds: nobody is told to wait longer, since the jobs of one request type differ by model."""
_SHORTEST = 0.001
_FIRST = 4
"""So many jobs are learned from by taking the quickest: the very first one may have waited for a model to load."""


class Pace:
    """The time within which a quarter of the recent jobs of each request type had ended: two numbers for each type.

    Request types are those of the catalogue, times are in seconds.
    """

    def __init__(self) -> None:
        self._quick: dict[str, float] = {}
        self._seen: dict[str, int] = {}

    def ended(self, request_type: str, seconds: float) -> None:
        """Learn from one ended job. What is expected moves by a step, so one odd job changes little."""
        taken = max(_SHORTEST, seconds)
        expected = self._quick.get(request_type, taken)
        seen = self._seen.get(request_type, 0)
        if seen < _FIRST:
            self._seen[request_type] = seen + 1
            self._quick[request_type] = min(expected, taken)
        else:
            factor = 1 + _STEP * _SHARE if taken >= expected else 1 / (1 + _STEP * (1 - _SHARE))
            self._quick[request_type] = expected * factor

    def hint(self, request_type: str, age: float) -> int:
        """Whole seconds until the next poll, for a job that was submitted `age` seconds ago.

        Old jobs rarely end soon, whatever others did.
        """
        ahead = math.ceil(self._quick.get(request_type, 0.0) - age)
        return max(1 if age < 30 else 2 if age < 300 else LONGEST_HINT, min(LONGEST_HINT, ahead))
