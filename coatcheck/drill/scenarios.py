"""The rows of the fault matrix as data: what is broken, under which load, and the bound that must hold meanwhile."""

from __future__ import annotations

from collections.abc import Mapping

from coatcheck.drill.bounds import Bound
from coatcheck.drill.mix import CLOCK, EVERYBODY, MIXED_CLUSTER
from coatcheck.drill.plan import Draw
from coatcheck.drill.scenario import CLEAN, NOT_NOTICED, Scenario
from coatcheck.drill.special import SPECIAL_ROWS


def _long(component: str, kind: str, member: int | str = 0, *, peer: str = "*", amount: float = 0.0) -> Draw:
    """A fault of 12 s, four leases long, for a load of 20 s."""
    return Draw(component, kind, member, (12.0, 12.0), peer, (amount,))


def _steady(name: str, says: str, draw: Draw, *bounds: Bound, cluster: bool = False) -> Scenario:
    return Scenario(name, says, (draw,), bounds, shape="steady", cluster=cluster)


_EDGE_ROWS = (
    Scenario("edge-kill", "kill -9 of edges with submits in flight", (Draw("edge"),)),
    Scenario("edge-freeze", "SIGSTOP of one of two edges", (Draw("edge", "freeze", lasts=(3.0, 6.0)),), cluster=True),
    _steady(
        "edge-mongod-cut",
        "no edge reaches a database: 503 in time",
        _long("edge", "cut", "all", peer="mongod*"),
        *CLEAN,
    ),
    _steady(
        "edge-mongod-slow",
        "10 s between edges and databases: 503 in time, no job twice",
        _long("edge", "delay", "all", peer="mongod*", amount=10.0),
        *CLEAN,
    ),
    _steady(
        "edge-broker-cut",
        "no edge reaches a broker: accepts as ever, the sweep finds the jobs",
        _long("edge", "cut", "all", peer="broker*"),
        Bound("accepted_share", least=0.9),
        Bound("claim_during_p50", most=3.0),
        *NOT_NOTICED,
    ),
    Scenario(
        "edge-reset", "connections of clients are reset", (Draw("edge", "reset", lasts=(0.2, 2.0), peer="client"),)
    ),
    Scenario(
        "edge-truncate", "answers to clients break off", (Draw("edge", "truncate", lasts=(0.2, 2.0), peer="client"),)
    ),
    Scenario(
        "edge-clock",
        "an edge's clock is 10 min wrong",
        (Draw("edge", "clock", lasts=(3.0, 5.0), amounts=CLOCK),),
        NOT_NOTICED,
    ),
)

_WORKER_ROWS = (
    Scenario(
        "worker-kill", "kill -9 of workers with calls in flight", (Draw("worker"),), (Bound("result_max", most=20),)
    ),
    Scenario("worker-term", "SIGTERM of workers: jobs are given back", (Draw("worker", "term"),), NOT_NOTICED),
    Scenario("worker-freeze", "SIGSTOP of workers beyond their leases", (Draw("worker", "freeze", lasts=(4.0, 8.0)),)),
    _steady(
        "worker-mongod-cut",
        "a worker does not reach a database for four leases while its calls are answered",
        _long("worker", "cut", peer="mongod*"),
        *NOT_NOTICED,
    ),
    _steady(
        "worker-mongod-slow",
        "10 s between a worker and the databases: its leases run out, others take over",
        _long("worker", "delay", peer="mongod*", amount=10.0),
        *NOT_NOTICED,
    ),
    _steady(
        "worker-broker-cut",
        "no worker reaches a broker: the sweep finds the jobs",
        _long("worker", "cut", "all", peer="broker*"),
        Bound("claim_during_p50", most=3.0),
        *NOT_NOTICED,
    ),
    Scenario(
        "worker-clock",
        "a worker's clock is 10 min wrong",
        (Draw("worker", "clock", lasts=(3.0, 5.0), amounts=CLOCK),),
        NOT_NOTICED,
    ),
)

_KEEPER_ROWS = (
    Scenario("keeper-kill", "kill -9 of keepers", (Draw("keeper"),), NOT_NOTICED),
    _steady(
        "keepers-down",
        "no keeper at all: jobs run",
        _long("keeper", "kill", "all"),
        Bound("claim_during_p50", most=1.0),
        *NOT_NOTICED,
    ),
    Scenario("keeper-freeze", "SIGSTOP of keepers", (Draw("keeper", "freeze", lasts=(3.0, 8.0)),), NOT_NOTICED),
    Scenario(
        "keeper-clock",
        "a keeper's clock is 10 min wrong",
        (Draw("keeper", "clock", lasts=(3.0, 5.0), amounts=CLOCK),),
        NOT_NOTICED,
    ),
)

_DATABASE_ROWS = (
    Scenario("mongod-kill", "kill -9 of the only database", (Draw("mongod"),), CLEAN),
    Scenario("mongod-freeze", "SIGSTOP of the only database", (Draw("mongod", "freeze", lasts=(3.0, 6.0)),), CLEAN),
    Scenario(
        "primary-kill",
        "kill -9 of the primary",
        (Draw("mongod", "kill", "primary", (1.0, 3.0)),),
        CLEAN,
        cluster=True,
        seconds=40,
        faults=2,
    ),
    Scenario(
        "step-down",
        "the primary steps down",
        (Draw("mongod", "step-down", "primary", (5.0, 5.0)),),
        CLEAN,
        cluster=True,
        seconds=40,
    ),
    _steady("primary-freeze", "SIGSTOP of the primary", _long("mongod", "freeze", "primary"), *CLEAN, cluster=True),
    _steady(
        "primary-cut",
        "the primary does not reach the others, clients still reach it: nothing is acknowledged by the minority",
        _long("mongod", "cut", "primary", peer="mongod*"),
        *CLEAN,
        cluster=True,
    ),
    _steady(
        "primary-gone",
        "nobody reaches the primary",
        _long("mongod", "cut", "primary"),
        *CLEAN,
        cluster=True,
    ),
    _steady(
        "secondary-freeze",
        "SIGSTOP of one secondary of two",
        Draw("mongod", "freeze", "secondary", (12.0, 12.0)),
        *NOT_NOTICED,
        cluster=True,
    ),
    _steady(
        "secondaries-freeze",
        "SIGSTOP of both secondaries: 503 in time",
        _long("mongod", "freeze", "secondaries"),
        *CLEAN,
        cluster=True,
    ),
    Scenario(
        "mongod-wipe",
        "the primary's disk is empty when it comes back",
        (Draw("mongod", "wipe", "primary"),),
        CLEAN,
        cluster=True,
        seconds=30,
        faults=1,
    ),
    Scenario(
        "disk-full",
        "the database's disk is full for longer than its journal and the next checkpoint have room",
        (Draw("mongod", "disk-full", 0, (70.0, 70.0)),),
        CLEAN,
        shape="steady",
        jobs=800,
        seconds=80,
    ),
    _steady(
        "mongod-clock-ahead",
        "the primary's clock goes 10 min ahead: leases end early, so calls may repeat",
        Draw("mongod", "clock", "primary", (40.0, 40.0), amounts=(600.0,)),  # once back, new jobs would wait 10 min
        *CLEAN,
    ),
    _steady(
        "mongod-clock-behind",
        "the primary's clock is 10 min behind",
        _long("mongod", "clock", "primary", amount=-600.0),
        *CLEAN,
    ),
)

_BROKER_ROWS = (
    Scenario("broker-kill", "kill -9 of the broker: its topics and bells are gone", (Draw("broker"),), NOT_NOTICED),
    Scenario("broker-freeze", "SIGSTOP of the broker", (Draw("broker", "freeze", lasts=(3.0, 8.0)),), NOT_NOTICED),
    Scenario(
        "broker-down",
        "no broker at all: the sweep finds every job",
        (Draw("broker", "kill", "all", (18.0, 18.0)),),
        (Bound("claim_during_p50", most=3.0), Bound("accepted_share", least=0.9), *NOT_NOTICED),
        shape="steady",
        seconds=25,
    ),
    Scenario(
        "brokers-down-5min",
        "three brokers dead for 5 minutes: every job ends, claimed within 3 s at the median",
        (Draw("broker", "kill", "all", (300.0, 300.0)),),
        (Bound("claim_during_p50", most=3.0), Bound("accepted_share", least=0.9), *NOT_NOTICED),
        shape="steady",
        cluster=True,
        jobs=10_000,
        seconds=370,
    ),
    _steady(
        "broker-cut",
        "one broker of three reaches nobody",
        _long("broker", "cut"),
        Bound("claim_during_p50", most=3.0),
        *NOT_NOTICED,
        cluster=True,
    ),
    _steady(
        "broker-slow",
        "10 s to one broker of three",
        _long("broker", "delay", amount=10.0),
        Bound("claim_during_p50", most=3.0),
        *NOT_NOTICED,
        cluster=True,
    ),
    Scenario(
        "broker-wipe",
        "a broker's disk is empty when it comes back",
        (Draw("broker", "wipe"),),
        NOT_NOTICED,
        cluster=True,
        seconds=30,
        faults=2,
    ),
    Scenario(
        "poison-records",
        "random bytes, unknown ids, 900 KB and nothing in the topics",
        (Draw("broker", "poison"),),
        NOT_NOTICED,
    ),
)

_ROWS = (
    Scenario("mixed", "kill -9 of everything in turn", tuple(map(Draw, EVERYBODY)), jobs=1000, seconds=45, faults=12),
    Scenario(
        "mixed-cluster", "every kind of fault in turn", MIXED_CLUSTER, cluster=True, jobs=5000, seconds=170, faults=34
    ),
    *_EDGE_ROWS,
    *_WORKER_ROWS,
    *_KEEPER_ROWS,
    *_DATABASE_ROWS,
    *_BROKER_ROWS,
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
    Scenario("calm", "no faults, for comparison", bounds=NOT_NOTICED),
)

SCENARIOS: Mapping[str, Scenario] = {row.name: row for row in (*_ROWS, *SPECIAL_ROWS)}
