"""The rows of the fault matrix as data: what is broken, under which load, and the bound that must hold meanwhile."""

from __future__ import annotations

from collections.abc import Mapping

from coatcheck.drill.bounds import Bound
from coatcheck.drill.mix import EVERYBODY, MIXED_CLUSTER
from coatcheck.drill.part_rows import BROKER_ROWS, DATABASE_ROWS
from coatcheck.drill.plan import Draw
from coatcheck.drill.product_rows import EDGE_ROWS, KEEPER_ROWS, WORKER_ROWS
from coatcheck.drill.scenario import CLEAN, NOT_NOTICED, Scenario
from coatcheck.drill.special import SPECIAL_ROWS


def _look_ups(seconds: float) -> tuple[Draw, ...]:
    """What the whole product suffers when it must look up everybody again and cannot."""
    product = ("edge", "worker", "keeper")
    return (
        *(Draw(component, "look-up", "all", (12.0, 12.0), amounts=(seconds,)) for component in product),
        *(Draw(component, "reset", "all", (0.5, 0.5)) for component in ("mongod", "broker")),
    )


_ROWS = (
    Scenario("mixed", "kill -9 of everything in turn", tuple(map(Draw, EVERYBODY)), jobs=1000, seconds=45, faults=12),
    Scenario(
        "mixed-cluster", "every kind of fault in turn", MIXED_CLUSTER, cluster=True, jobs=5000, seconds=170, faults=34
    ),
    *EDGE_ROWS,
    *WORKER_ROWS,
    *KEEPER_ROWS,
    *DATABASE_ROWS,
    *BROKER_ROWS,
    Scenario("provider-storm", "a minute of 429s to every call: jobs wait, none fails", bounds=NOT_NOTICED, storm=60.0),
    Scenario(
        "outage",
        "kill -9 of everything at once, back after 60 s",
        (Draw("everything", "outage", "all", (60.0, 60.0)),),
        shape="steady",
        jobs=900,
        seconds=90,
    ),
    Scenario(
        "rolling",
        "every process of the product is restarted in turn with SIGTERM: no error",
        tuple(Draw(component, "term", lasts=(0.5, 0.5)) for component in ("edge", "worker", "keeper")),
        NOT_NOTICED,
        shape="in turn",
        cluster=True,
        jobs=2000,
        seconds=70,
    ),
    Scenario(
        "start-order",
        "the product is started 12 s before there is a database and 20 s before there is a broker",
        (
            Draw("mongod", "kill", "all", (12.0, 12.0)),
            Draw("broker", "kill", "all", (20.0, 20.0)),
            *(Draw(component, "kill", "all", (0.5, 0.5)) for component in ("edge", "worker", "keeper")),
        ),
        (Bound("submit_max", most=8.0), Bound("failed", most=0)),  # who knocks while an edge starts waits for it
        shape="steady",
        seconds=40,
    ),
    Scenario(
        "look-up-fails",
        "connections break, and the names of databases and brokers cannot be looked up",
        _look_ups(-1.0),
        (*CLEAN, Bound("failed", most=0)),
        shape="steady",
    ),
    Scenario(
        "look-up-slow",
        "connections break, and each look-up of a name takes 5 s",
        _look_ups(5.0),
        (*CLEAN, Bound("failed", most=0)),
        shape="steady",
    ),
    Scenario(
        "flaky-links",
        "half a minute in which all links are up to 0.2 s late, and each second a connection in a hundred is reset",
        (Draw("everything", "flaky", "all", (32.0, 32.0)),),
        (Bound("submit_max", most=4.0), Bound("failed", most=0), Bound("result_max", most=30.0)),
        shape="steady",
        cluster=True,
        seconds=40,
        jobs=600,
    ),
    Scenario("calm", "no faults, for comparison", bounds=NOT_NOTICED),
)

SCENARIOS: Mapping[str, Scenario] = {row.name: row for row in (*_ROWS, *SPECIAL_ROWS)}
