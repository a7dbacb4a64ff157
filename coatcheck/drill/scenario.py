"""What a scenario is: what is broken, under which load, with what parts, and the bounds that must hold meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from coatcheck.drill.bounds import Bound
from coatcheck.drill.cluster import Size
from coatcheck.drill.load import CLIENTS, LATENCIES, MODELS
from coatcheck.drill.plan import Draw

Shape = Literal["spread", "steady", "late", "in turn"]
"""Faults spread over the load, all of them once and at once (early or when most is submitted), or each member of the
components in turn."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A row that can be run alone. Without `bounds` it promises only what every row does: nothing lost, no death.

    `cluster` rows need three databases and Apache Kafka; others may ask for a `size` with the embedded broker. For
    `storm` seconds the provider answers 429 to everything. `models`, `latencies` and `headers` are as in LoadOptions.
    Whoever has not ended `patience` seconds later is stuck. So many of a `herd` poll one and the same job beside the
    load. `commands`, `environ` and `settings` are what components are started with instead of and beside the usual.
    `deadly` ones kill members by what is submitted, so that a death is no violation. Who fails says one of `reasons`.
    `forgets`: a fault empties the databases, so only what was accepted after it is judged. Ended jobs are kept for
    `keeps` seconds. With `vitals`, what every process holds is looked at so often, in seconds.
    """

    name: str
    says: str
    draws: tuple[Draw, ...] = ()
    bounds: tuple[Bound, ...] = ()
    shape: Shape = "spread"
    cluster: bool = False
    size: Size | None = None
    jobs: int = 300
    seconds: float = 20.0
    faults: int = 3
    storm: float = 0.0
    models: tuple[str, ...] = MODELS
    latencies: tuple[int, ...] = LATENCIES
    headers: tuple[tuple[str, str], ...] = ()
    clients: int = CLIENTS
    herd: int = 0
    patience: float = 120.0
    forgets: bool = False
    keeps: int = 7200
    vitals: float = 0.0
    commands: Mapping[str, Sequence[str]] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    settings: str = ""
    deadly: bool = False
    reasons: tuple[str, ...] = ()


CLEAN = (Bound("submit_max", most=4.0), Bound("unanswered", most=0))
"""Whatever happens behind an edge, it answers in its 3 s, with a second for busy cores."""

NOT_NOTICED = (Bound("errors", most=0), Bound("failed", most=0))


HEALS = Bound("recovery_max", most=15.0)
"""A job that is accepted after a fault ends in this time, in which elections and groups find together again."""


def long_fault(component: str, kind: str, member: int | str = 0, *, peer: str = "*", amount: float = 0.0) -> Draw:
    """A fault of 12 s, four leases long, for a load of 20 s."""
    return Draw(component, kind, member, (12.0, 12.0), peer, (amount,))


def steady(
    name: str, says: str, draw: Draw, *bounds: Bound, cluster: bool = False, size: Size | None = None
) -> Scenario:
    """A row whose one fault begins when a tenth of the load's time is over, and is soon forgotten when it is."""
    return Scenario(name, says, (draw,), (*bounds, HEALS), shape="steady", cluster=cluster, size=size)
