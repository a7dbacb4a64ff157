"""What is broken when: a seeded schedule of faults. Pure; the same seed gives the same schedule."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["kill", "term", "freeze"]
"""kill -9, SIGTERM (both followed by a restart), or SIGSTOP (followed by SIGCONT)."""

MARGIN = 0.1
"""Share of the load's time at its beginning and end that stays free of faults."""


@dataclass(frozen=True, slots=True)
class Fault:
    """At second `at` after the load began, do `kind` to one member of a component, for `lasts` seconds."""

    at: float
    component: str
    member: int
    kind: Kind
    lasts: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """A row that can be run alone. `kinds` are drawn from; `lasts` is a range in seconds.

    `steady` faults begin at once and last for the whole load instead of being drawn. For `storm` seconds from the
    beginning the provider answers 429 to everything.
    """

    name: str
    says: str
    components: tuple[str, ...]
    kinds: tuple[Kind, ...] = ("kill",)
    lasts: tuple[float, float] = (0.2, 1.5)
    steady: bool = False
    storm: float = 0.0


SCENARIOS: Mapping[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("mixed", "kill -9 of everything in turn", ("worker", "edge", "keeper", "broker", "mongod")),
        Scenario("worker-kill", "kill -9 of workers with calls in flight", ("worker",)),
        Scenario("worker-term", "SIGTERM of workers: jobs are given back", ("worker",), ("term",)),
        Scenario("worker-freeze", "SIGSTOP of workers beyond their leases", ("worker",), ("freeze",), (4.0, 8.0)),
        Scenario("edge-kill", "kill -9 of edges with submits in flight", ("edge",)),
        Scenario("keeper-kill", "kill -9 of keepers", ("keeper",)),
        Scenario("mongod-kill", "kill -9 of the database", ("mongod",)),
        Scenario("mongod-freeze", "SIGSTOP of the database", ("mongod",), ("freeze",), (3.0, 6.0)),
        Scenario("broker-kill", "kill -9 of the broker: its topics and bells are gone", ("broker",)),
        Scenario("broker-freeze", "SIGSTOP of the broker", ("broker",), ("freeze",), (3.0, 8.0)),
        Scenario("broker-down", "no broker at all: the sweep finds every job", ("broker",), steady=True),
        Scenario("provider-storm", "a minute of 429s to every call: jobs wait, none fails", (), storm=60.0),
        Scenario("calm", "no faults, for comparison", ()),
    )
}


def make_plan(scenario: Scenario, *, seed: int, seconds: float, faults: int, members: Mapping[str, int]) -> list[Fault]:
    """Spread `faults` over the load's `seconds`, every component of the scenario in turn, times and members drawn."""
    if not scenario.components:
        return []
    if scenario.steady:
        return [Fault(0.0, component, 0, "kill", seconds) for component in scenario.components]
    rng = random.Random(seed)
    first, last = seconds * MARGIN, seconds * (1 - MARGIN)
    step = (last - first) / faults
    turns = itertools.islice(_turns(rng, scenario.components), faults)
    return [
        Fault(
            at=first + step * (number + rng.random()),
            component=component,
            member=rng.randrange(members[component]),
            kind=rng.choice(scenario.kinds),
            lasts=rng.uniform(*scenario.lasts),
        )
        for number, component in enumerate(turns)
    ]


def _turns(rng: random.Random, components: Sequence[str]) -> Iterator[str]:
    """Round after round through all components, each round in another order."""
    while True:
        yield from rng.sample(components, len(components))
