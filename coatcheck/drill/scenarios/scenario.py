"""What a scenario is: what is broken, under which load, with what parts, and the bounds that must hold meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from coatcheck.drill.load.clients import Load
from coatcheck.drill.model.plan import Draw
from coatcheck.drill.stack.cluster import Size

Shape = Literal["spread", "steady", "late", "in turn"]
"""Faults spread over the load; all once and at once, early or late in it; each member of the components in turn."""


@dataclass(frozen=True, slots=True)
class Bound:
    """An assertion about one of the report's figures: at most, or at least, so much."""

    figure: str
    most: float | None = None
    least: float | None = None

    def __str__(self) -> str:
        return f"{self.figure} >= {self.least:g}" if self.most is None else f"{self.figure} <= {self.most:g}"

    def broken_by(self, figures: Mapping[str, float]) -> str:
        """What is wrong, or empty. A figure that was not measured keeps no bound."""
        value = figures.get(self.figure)
        if value is None:
            return f"{self}: not measured"
        if (self.most is not None and value > self.most) or (self.least is not None and value < self.least):
            return f"{self}: it was {value:.3g}"
        return ""


def broken(bounds: Sequence[Bound], figures: Mapping[str, float]) -> list[str]:
    return [line for bound in bounds if (line := bound.broken_by(figures))]


@dataclass(frozen=True, slots=True)
class Scenario(Load):
    """A row that can be run alone. Without `bounds` it promises only what every row does: nothing lost, no death.

    Faults of the `opening` come first, each while nothing else is broken, unless they take half of the time. `cluster`
    is three databases and Apache Kafka; a `size` of one broker has the embedded one. Who has not ended `patience`
    seconds after the load is stuck. `herd`: so many poll one job beside the load. `process_stats`: seconds between
    looks at what processes hold; 0: none. `commands`, `environ`, `settings` and `keeps` are as in Setup. `deadly`:
    payloads kill members, so a death is no violation. Who fails says one of `reasons`.
    """

    name: str
    says: str
    draws: tuple[Draw, ...] = ()
    bounds: tuple[Bound, ...] = ()
    shape: Shape = "spread"
    opening: tuple[Draw, ...] = ()
    cluster: bool = False
    size: Size | None = None
    faults: int = 3
    herd: int = 0
    patience: float = 120.0
    keeps: int = 7200
    process_stats: float = 0.0
    commands: Mapping[str, Sequence[str]] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    settings: str = ""
    deadly: bool = False
    reasons: tuple[str, ...] = ()


NONE_FAILED = Bound("failed", most=0)
NO_ERRORS = Bound("errors", most=0)
NOT_NOTICED = (NO_ERRORS, NONE_FAILED)

CLEAN = (Bound("submit_max", most=4.0), Bound("unanswered", most=0))
"""Whatever happens behind an edge, it answers in its 3 s, with a second for busy cores."""
