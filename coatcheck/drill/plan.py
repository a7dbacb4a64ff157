"""What is broken when: a seeded schedule of faults. Pure; the same seed gives the same schedule."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

MARGIN = 0.1
"""Share of the load's time at its beginning and end that stays free of faults."""

Which = int | str
"""A member's number, "any" to draw one, "all", or a role of the moment: "primary", "secondary", "secondaries"."""


@dataclass(frozen=True, slots=True)
class Fault:
    """At second `at` after the load began, do `kind` to a member of a component, for `lasts` seconds.

    Network kinds take `peer`: its connections with whom suffer, "*" for everybody. `amount` is what the kind makes
    of it: seconds of delay, or seconds by which a clock goes wrong.
    """

    at: float
    component: str
    member: Which
    kind: str
    lasts: float
    peer: str = "*"
    amount: float = 0.0

    def __str__(self) -> str:
        where = f"{self.component} {self.member}" + (f" and {self.peer}" if self.peer != "*" else "")
        return f"{self.kind} {where}" + (f" by {self.amount:g} s" if self.amount else "")


@dataclass(frozen=True, slots=True)
class Applied:
    """A fault as it happened. Monotonic times: when it began, when mending it began, when it was mended."""

    fault: Fault
    began: float
    over: float
    mended: float


@dataclass(frozen=True, slots=True)
class Draw:
    """Faults of one sort that a schedule may hold; `lasts` is a range in seconds, the rest is as in Fault."""

    component: str
    kind: str = "kill"
    member: Which = "any"
    lasts: tuple[float, float] = (0.2, 1.5)
    peer: str = "*"
    amounts: tuple[float, ...] = (0.0,)

    def fault(self, at: float, rng: random.Random, members: Mapping[str, int]) -> Fault:
        """One of them."""
        member = rng.randrange(members[self.component]) if self.member == "any" else self.member
        lasts, amount = rng.uniform(*self.lasts), rng.choice(self.amounts)
        return Fault(at, self.component, member, self.kind, lasts, self.peer, amount)


def make_plan(
    draws: Sequence[Draw], *, seed: int, seconds: float, faults: int, members: Mapping[str, int]
) -> list[Fault]:
    """Spread `faults` over the load's `seconds`, every draw in turn, times and members drawn."""
    if not draws:
        return []
    rng = random.Random(seed)
    first, last = seconds * MARGIN, seconds * (1 - MARGIN)
    step = (last - first) / faults
    turns = itertools.islice(_turns(rng, draws), faults)
    return [draw.fault(first + step * (number + rng.random()), rng, members) for number, draw in enumerate(turns)]


def steady_plan(
    draws: Sequence[Draw], *, seed: int, seconds: float, members: Mapping[str, int], late: bool = False
) -> list[Fault]:
    """Each draw once, all of them when a tenth of the load's time is over, or `late`: when a tenth is left."""
    rng = random.Random(seed)
    at = seconds * (1 - MARGIN if late else MARGIN)
    return [draw.fault(at, rng, members) for draw in draws]


def in_turn_plan(draws: Sequence[Draw], *, seed: int, seconds: float, members: Mapping[str, int]) -> list[Fault]:
    """For each draw each member of its component, one after the other, evenly over the load."""
    rng = random.Random(seed)
    victims = [(draw, number) for draw in draws for number in range(members[draw.component])]
    first, last = seconds * MARGIN, seconds * (1 - MARGIN)
    step = (last - first) / max(1, len(victims))
    faults = [draw.fault(first + step * turn, rng, members) for turn, (draw, _) in enumerate(victims)]
    return [replace(fault, member=number) for fault, (_, number) in zip(faults, victims, strict=True)]


def _turns(rng: random.Random, draws: Sequence[Draw]) -> Iterator[Draw]:
    """Round after round through all draws, each round in another order."""
    while True:
        yield from rng.sample(draws, len(draws))
