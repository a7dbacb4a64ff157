"""What is broken when: a seeded schedule of faults. Pure; the same seed gives the same schedule."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

MARGIN = 0.1
"""Share of the load's time at its beginning and end that stays free of faults."""

OPENING_GAP = 3.0
"""Seconds before and after each of the faults that come first."""

Which = int | str
"""A member's number, "any" to draw one, "all", or a role of the moment: "primary", "secondary", "secondaries"."""


@dataclass(frozen=True, slots=True)
class Fault:
    """At second `at` after the load began, do `kind` to a member of a component, for `lasts` seconds. Of network kinds
    its connections with `peer` suffer, "*": with all. `amount`: seconds of delay, or by which a clock goes wrong.
    """

    at: float
    component: str
    node: Which
    kind: str
    lasts: float
    peer: str = "*"
    amount: float = 0.0

    def __str__(self) -> str:
        where = f"{self.component} {self.node}" + (f" and {self.peer}" if self.peer != "*" else "")
        return f"{self.kind} {where}" + (f" by {self.amount:g} s" if self.amount else "")


@dataclass(frozen=True, slots=True)
class Applied:
    """A fault as it happened. Monotonic times: when it began, when mending it began, when it was mended."""

    fault: Fault
    began: float
    over: float
    mended: float

    @property
    def sort(self) -> str:
        return f"{self.fault.kind} {self.fault.component}"


@dataclass(frozen=True, slots=True)
class Draw:
    """Faults of one sort that a schedule may hold; `lasts` is a range in seconds, the rest is as in Fault."""

    component: str
    kind: str = "kill"
    node: Which = "any"
    lasts: tuple[float, float] = (0.2, 1.5)
    peer: str = "*"
    amounts: tuple[float, ...] = (0.0,)

    def fault(self, at: float, rng: random.Random, nodes: Mapping[str, int]) -> Fault:
        """One of them, of so many `nodes` of each component."""
        node = rng.randrange(nodes[self.component]) if self.node == "any" else self.node
        lasts, amount = rng.uniform(*self.lasts), rng.choice(self.amounts)
        return Fault(at, self.component, node, self.kind, lasts, self.peer, amount)


def spread(draws: Sequence[Draw], *, seed: int, seconds: float, faults: int, nodes: Mapping[str, int]) -> list[Fault]:
    """Spread `faults` over the load's `seconds`, every draw in turn, times and members drawn."""
    if not draws:
        return []
    rng = random.Random(seed)
    first = seconds * MARGIN
    step = (seconds * (1 - MARGIN) - first) / faults
    rounds = (rng.sample(draws, len(draws)) for _ in itertools.count())
    turns = itertools.islice(itertools.chain.from_iterable(rounds), faults)
    return [draw.fault(first + step * (number + rng.random()), rng, nodes) for number, draw in enumerate(turns)]


def steady(draws: Sequence[Draw], at: float, *, seed: int, nodes: Mapping[str, int]) -> list[Fault]:
    """Each draw once, all of them at second `at`."""
    rng = random.Random(seed)
    return [draw.fault(at, rng, nodes) for draw in draws]


def in_turn(draws: Sequence[Draw], *, seed: int, seconds: float, nodes: Mapping[str, int]) -> list[Fault]:
    """For each draw each member of its component, one after the other, evenly over the load."""
    rng = random.Random(seed)
    victims = [(draw, number) for draw in draws for number in range(nodes[draw.component])]
    first = seconds * MARGIN
    step = (seconds * (1 - MARGIN) - first) / max(1, len(victims))
    return [
        replace(draw.fault(first + step * turn, rng, nodes), node=number) for turn, (draw, number) in enumerate(victims)
    ]


def opening(draws: Sequence[Draw], rest: Sequence[Fault], *, seed: int, nodes: Mapping[str, int]) -> list[Fault]:
    """Each draw once, one after the other, before the rest of a plan: nothing else may spoil what they show."""
    rng = random.Random(seed)
    at, faults = OPENING_GAP, []
    for draw in draws:
        faults.append(draw.fault(at, rng, nodes))
        at += faults[-1].lasts + OPENING_GAP
    return [*faults, *(replace(each, at=each.at + at) for each in rest)]


def opening_seconds(draws: Sequence[Draw]) -> float:
    """How long that may take at most."""
    return OPENING_GAP + sum(draw.lasts[1] + OPENING_GAP for draw in draws) if draws else 0.0
