"""The rows of the fault matrix as data: what is broken, under which load, and the bound that must hold meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from coatcheck.drill.bounds import Bound
from coatcheck.drill.plan import Draw

Shape = Literal["spread", "steady", "in turn"]
"""Faults spread over the load, all of them once and at once, or each member of the components in turn."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A row that can be run alone. Without `bounds` it promises only what every row does: nothing lost, no death.

    `cluster` rows need three databases and Apache Kafka. For `storm` seconds the provider answers 429 to everything.
    """

    name: str
    says: str
    draws: tuple[Draw, ...] = ()
    bounds: tuple[Bound, ...] = ()
    shape: Shape = "spread"
    cluster: bool = False
    jobs: int = 300
    seconds: float = 20.0
    faults: int = 3
    storm: float = 0.0


EVERYBODY = ("worker", "edge", "keeper", "broker", "mongod")
CLOCK = (-600.0, 600.0)

_MIXED_CLUSTER = (
    *(Draw(component) for component in EVERYBODY),
    *(Draw(component, "term") for component in EVERYBODY),
    *(Draw(component, "freeze", lasts=(3.0, 15.0)) for component in EVERYBODY),
    Draw("mongod", "step-down", "primary", lasts=(5.0, 8.0)),
    Draw("mongod", "kill", "primary", lasts=(1.0, 10.0)),
    Draw("mongod", "freeze", "primary", lasts=(5.0, 20.0)),
    Draw("mongod", "cut", "primary", lasts=(5.0, 20.0), peer="mongod*"),
    Draw("mongod", "cut", lasts=(5.0, 20.0), peer="edge*"),
    Draw("mongod", "delay", lasts=(5.0, 15.0), amounts=(0.2, 1.0, 10.0)),
    Draw("mongod", "reset", lasts=(0.2, 2.0)),
    Draw("mongod", "wipe"),
    Draw("worker", "cut", lasts=(5.0, 20.0), peer="mongod*"),
    Draw("worker", "cut", lasts=(5.0, 20.0), peer="broker*"),
    Draw("worker", "delay", lasts=(5.0, 15.0), peer="mongod*", amounts=(0.2, 1.0, 10.0)),
    Draw("worker", "clock", lasts=(5.0, 20.0), amounts=CLOCK),
    Draw("edge", "cut", lasts=(5.0, 20.0), peer="broker*"),
    Draw("edge", "reset", lasts=(0.2, 2.0), peer="client"),
    Draw("edge", "truncate", lasts=(0.2, 2.0), peer="client"),
    Draw("edge", "delay", lasts=(5.0, 15.0), peer="client", amounts=(0.2, 1.0)),
    Draw("edge", "clock", lasts=(5.0, 20.0), amounts=CLOCK),
    Draw("keeper", "clock", lasts=(5.0, 20.0), amounts=CLOCK),
    Draw("broker", "wipe"),
    Draw("broker", "cut", lasts=(5.0, 20.0)),
    Draw("broker", "delay", lasts=(5.0, 15.0), amounts=(0.2, 1.0, 10.0)),
    Draw("broker", "reset", lasts=(0.2, 2.0)),
    Draw("broker", "poison"),
)

_ROWS = (
    Scenario("mixed", "kill -9 of everything in turn", tuple(map(Draw, EVERYBODY)), jobs=1000, seconds=45, faults=12),
    Scenario("worker-kill", "kill -9 of workers with calls in flight", (Draw("worker"),)),
    Scenario("worker-term", "SIGTERM of workers: jobs are given back", (Draw("worker", "term"),)),
    Scenario("worker-freeze", "SIGSTOP of workers beyond their leases", (Draw("worker", "freeze", lasts=(4.0, 8.0)),)),
    Scenario("edge-kill", "kill -9 of edges with submits in flight", (Draw("edge"),)),
    Scenario("keeper-kill", "kill -9 of keepers", (Draw("keeper"),)),
    Scenario("mongod-kill", "kill -9 of the database", (Draw("mongod"),)),
    Scenario("mongod-freeze", "SIGSTOP of the database", (Draw("mongod", "freeze", lasts=(3.0, 6.0)),)),
    Scenario("broker-kill", "kill -9 of the broker: its topics and bells are gone", (Draw("broker"),)),
    Scenario("broker-freeze", "SIGSTOP of the broker", (Draw("broker", "freeze", lasts=(3.0, 8.0)),)),
    Scenario(
        "broker-down",
        "no broker at all: the sweep finds every job",
        (Draw("broker", "kill", "all", lasts=(18.0, 18.0)),),
        (Bound("claim_during_p50", most=3.0), Bound("errors", most=0)),
        shape="steady",
    ),
    Scenario(
        "provider-storm",
        "a minute of 429s to every call: jobs wait, none fails",
        bounds=(Bound("failed", most=0),),
        storm=60.0,
    ),
    Scenario("calm", "no faults, for comparison", bounds=(Bound("errors", most=0),)),
)

SCENARIOS: Mapping[str, Scenario] = {row.name: row for row in _ROWS}
