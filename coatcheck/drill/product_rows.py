"""Rows of the fault matrix in which edges, workers and keepers are broken."""

from __future__ import annotations

from coatcheck.drill.bounds import Bound
from coatcheck.drill.cluster import Size
from coatcheck.drill.mix import CLOCK
from coatcheck.drill.plan import Draw
from coatcheck.drill.scenario import CLEAN, NOT_NOTICED, Scenario, long_fault, steady

EDGE_ROWS = (
    Scenario("edge-kill", "kill -9 of edges with submits in flight", (Draw("edge"),), jobs=600, seconds=40.0),
    Scenario(
        "edge-freeze", "SIGSTOP of one of two edges", (Draw("edge", "freeze", lasts=(3.0, 6.0)),), size=Size(edges=2)
    ),
    steady(
        "edge-mongod-cut",
        "no edge reaches a database: 503 in time",
        long_fault("edge", "cut", "all", peer="mongod*"),
        *CLEAN,
    ),
    steady(
        "edge-mongod-slow",
        "10 s between edges and databases: 503 in time, no job twice",
        long_fault("edge", "delay", "all", peer="mongod*", amount=10.0),
        *CLEAN,
    ),
    steady(
        "edge-broker-cut",
        "no edge reaches a broker: accepts as ever, the sweep finds the jobs",
        long_fault("edge", "cut", "all", peer="broker*"),
        Bound("accepted_share", least=0.8),
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
    Scenario(
        "edge-process-kill",
        "kill -9 of one of an edge's two server processes: the other one serves, and it is replaced",
        (Draw("edge", "kill-one", lasts=(0.1, 0.1)),),
        NOT_NOTICED,
        environ={"COATCHECK_EDGE_PROCESSES": "2"},
    ),
    steady(
        "edge-starved",
        "an edge has a tenth of its CPU",
        long_fault("edge", "starve", amount=0.09),
        Bound("failed", most=0),
        Bound("unanswered", most=0),
    ),
    steady(
        "edge-disk-full",
        "no room for an edge's logs and metrics, and its server process must start so: it serves as ever",
        long_fault("edge", "no-room"),
        *NOT_NOTICED,
    ),
)

WORKER_ROWS = (
    Scenario(
        "worker-kill", "kill -9 of workers with calls in flight", (Draw("worker"),), (Bound("result_max", most=20),)
    ),
    Scenario("worker-term", "SIGTERM of workers: jobs are given back", (Draw("worker", "term"),), NOT_NOTICED),
    Scenario("worker-freeze", "SIGSTOP of workers beyond their leases", (Draw("worker", "freeze", lasts=(4.0, 8.0)),)),
    steady(
        "worker-mongod-cut",
        "a worker does not reach a database for four leases while its calls are answered",
        long_fault("worker", "cut", peer="mongod*"),
        *NOT_NOTICED,
    ),
    steady(
        "worker-mongod-slow",
        "10 s between a worker and the databases: its leases run out, others take over",
        long_fault("worker", "delay", peer="mongod*", amount=10.0),
        *NOT_NOTICED,
    ),
    steady(
        "worker-broker-cut",
        "no worker reaches a broker: the sweep finds the jobs",
        long_fault("worker", "cut", "all", peer="broker*"),
        Bound("claim_during_p50", most=3.0),
        *NOT_NOTICED,
    ),
    Scenario(
        "worker-clock",
        "a worker's clock is 10 min wrong",
        (Draw("worker", "clock", lasts=(3.0, 5.0), amounts=CLOCK),),
        NOT_NOTICED,
    ),
    steady(
        "worker-starved",
        "a worker has a tenth of its CPU",
        long_fault("worker", "starve", amount=0.09),
        *NOT_NOTICED,
    ),
)

KEEPER_ROWS = (
    Scenario("keeper-kill", "kill -9 of keepers", (Draw("keeper"),), NOT_NOTICED),
    steady(
        "keepers-down",
        "no keeper at all: jobs run",
        long_fault("keeper", "kill", "all"),
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
    steady(
        "keeper-mongod-cut",
        "no keeper reaches a database: jobs run",
        long_fault("keeper", "cut", "all", peer="mongod*"),
        Bound("claim_during_p50", most=1.0),
        *NOT_NOTICED,
    ),
    steady(
        "keeper-mongod-slow",
        "10 s between keepers and databases: jobs run",
        long_fault("keeper", "delay", "all", peer="mongod*", amount=10.0),
        Bound("claim_during_p50", most=1.0),
        *NOT_NOTICED,
    ),
)
