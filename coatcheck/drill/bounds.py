"""What a scenario promises in figures, and whether it kept it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bound:
    """An assertion about one figure: at most, or at least, so much. The figures are listed in figures.py."""

    figure: str
    most: float | None = None
    least: float | None = None

    def __str__(self) -> str:
        least = "" if self.least is None else f">= {self.least:g}"
        return f"{self.figure} {f'<= {self.most:g}' if self.most is not None else least}"

    def broken_by(self, figures: Mapping[str, float]) -> str:
        """What is wrong, or empty. A figure that was not measured keeps no bound."""
        value = figures.get(self.figure)
        if value is None:
            return f"{self}: not measured"
        if (self.most is not None and value > self.most) or (self.least is not None and value < self.least):
            return f"{self}: it was {value:.3g}"
        return ""


def broken(bounds: Sequence[Bound], figures: Mapping[str, float]) -> list[str]:
    """The bounds that did not hold, one line each."""
    return [line for bound in bounds if (line := bound.broken_by(figures))]
