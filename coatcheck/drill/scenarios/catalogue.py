"""The rows of the fault matrix as data: what is broken, under which load, and the bound that must hold meanwhile."""

from __future__ import annotations

from collections.abc import Mapping

from coatcheck.drill.model.plan import Draw
from coatcheck.drill.model.requests import ALL_KINDS
from coatcheck.drill.scenarios.component_rows import CLOCK, COMPONENT_ROWS
from coatcheck.drill.scenarios.scenario import CLEAN, NONE_FAILED, NOT_NOTICED, Bound, Scenario
from coatcheck.drill.scenarios.special_rows import SPECIAL_ROWS
from coatcheck.drill.stack.cluster import PRODUCT

_EVERYBODY = ("worker", "edge", "reaper", "broker", "mongod")

_MIXED_CLUSTER = (
    *(Draw(component) for component in _EVERYBODY),
    *(Draw(component, "term") for component in _EVERYBODY),
    *(Draw(component, "freeze", lasts=(3.0, 15.0)) for component in _EVERYBODY),
    Draw("mongod", "step-down", "primary", lasts=(5.0, 8.0)),
    Draw("mongod", "kill", "primary", lasts=(1.0, 10.0)),
    Draw("mongod", "freeze", "primary", lasts=(5.0, 20.0)),
    Draw("mongod", "cut", "primary", lasts=(5.0, 20.0), peer="mongod*"),
    Draw("mongod", "cut", lasts=(5.0, 20.0), peer="edge*"),
    Draw("mongod", "delay", lasts=(5.0, 15.0), amounts=(0.2, 1.0, 10.0)),
    Draw("mongod", "reset", lasts=(0.2, 2.0)),
    Draw("mongod", "wipe"),
    Draw("mongod", "disk-full", 2, (20.0, 70.0)),
    Draw("worker", "cut", lasts=(5.0, 20.0), peer="mongod*"),
    Draw("worker", "cut", lasts=(5.0, 20.0), peer="broker*"),
    Draw("worker", "delay", lasts=(5.0, 15.0), peer="mongod*", amounts=(0.2, 1.0, 10.0)),
    Draw("worker", "clock", lasts=(5.0, 20.0), amounts=CLOCK),
    Draw("edge", "cut", lasts=(5.0, 20.0), peer="broker*"),
    Draw("edge", "reset", lasts=(0.2, 2.0), peer="client"),
    Draw("edge", "truncate", lasts=(0.2, 2.0), peer="client"),
    Draw("edge", "delay", lasts=(5.0, 15.0), peer="client", amounts=(0.2, 1.0)),
    Draw("edge", "clock", lasts=(5.0, 20.0), amounts=CLOCK),
    Draw("reaper", "clock", lasts=(5.0, 20.0), amounts=CLOCK),
    Draw("broker", "wipe"),
    Draw("broker", "cut", lasts=(5.0, 20.0)),
    Draw("broker", "delay", lasts=(5.0, 15.0), amounts=(0.2, 1.0, 10.0)),
    Draw("broker", "reset", lasts=(0.2, 2.0)),
    Draw("broker", "poison"),
)


def _look_ups(seconds: float) -> tuple[Draw, ...]:
    """What the whole product suffers when it must look up everybody again and cannot."""
    return (
        *(Draw(component, "look-up", "all", (12.0, 12.0), amounts=(seconds,)) for component in PRODUCT),
        *(Draw(component, "reset", "all", (0.5, 0.5)) for component in ("mongod", "broker")),
    )


_SLEEP = (Draw("worker", "freeze", 0, (7.0, 7.0)),)

_MIXED = (
    Scenario("mixed", "a worker sleeps for longer than its leases, then kill -9 of everything in turn",
             tuple(map(Draw, _EVERYBODY)), opening=_SLEEP, jobs=1000, seconds=50, faults=12, kinds=ALL_KINDS,
             latencies=(5, 100, 1000, 2000)),  # a frozen worker then holds jobs
    Scenario("mixed-cluster", "every kind of fault in turn", _MIXED_CLUSTER, opening=_SLEEP, cluster=True,
             jobs=5000, seconds=170, faults=34, kinds=ALL_KINDS),
)  # fmt: skip

_WHOLE = (
    Scenario("provider-storm", "a minute of 429s to every call: jobs wait, none fails", bounds=NOT_NOTICED, storm=60.0),
    Scenario("outage", "kill -9 of everything at once, back after 60 s",
             (Draw("everything", "outage", "all", (60.0, 60.0)),), shape="steady", jobs=900, seconds=90),
    Scenario("rolling", "every process of the product is restarted in turn with SIGTERM: no error",
             tuple(Draw(component, "term", lasts=(0.5, 0.5)) for component in PRODUCT), NOT_NOTICED,
             shape="in turn", cluster=True, jobs=2000, seconds=70),
    Scenario("start-order", "the product is started 12 s before there is a database and 20 s before there is a broker",
             (Draw("mongod", "kill", "all", (12.0, 12.0)), Draw("broker", "kill", "all", (20.0, 20.0)),
              *(Draw(component, "kill", "all", (0.5, 0.5)) for component in PRODUCT)),
             (Bound("submit_max", most=8.0), NONE_FAILED),  # requests that come while an edge starts wait
             shape="steady", seconds=40),
    Scenario("look-up-fails", "connections break, and the names of databases and brokers cannot be looked up",
             _look_ups(-1.0), (*CLEAN, NONE_FAILED), shape="steady"),
    Scenario("look-up-slow", "connections break, and each look-up of a name takes 5 s",
             _look_ups(5.0), (*CLEAN, NONE_FAILED), shape="steady"),
    Scenario("flaky-links",
             "half a minute in which all links are up to 0.2 s late, "
             "and each second a connection in a hundred is reset",
             (Draw("everything", "flaky", "all", (32.0, 32.0)),),
             (Bound("submit_max", most=4.0), NONE_FAILED, Bound("result_max", most=30.0)),
             shape="steady", cluster=True, seconds=40, jobs=600),
    Scenario("calm", "no faults, for comparison", bounds=NOT_NOTICED),
)  # fmt: skip

SCENARIOS: Mapping[str, Scenario] = {row.name: row for row in (*_MIXED, *COMPONENT_ROWS, *_WHOLE, *SPECIAL_ROWS)}
