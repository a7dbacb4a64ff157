"""Rows of the fault matrix in which databases and brokers are broken."""

from __future__ import annotations

from coatcheck.drill.bounds import Bound
from coatcheck.drill.cluster import Size
from coatcheck.drill.plan import Draw
from coatcheck.drill.scenario import CLEAN, HEALS, NOT_NOTICED, Scenario, long_fault, steady

_THREE = Size(databases=3)

DATABASE_ROWS = (
    Scenario("mongod-kill", "kill -9 of the only database", (Draw("mongod"),), CLEAN),
    Scenario("mongod-freeze", "SIGSTOP of the only database", (Draw("mongod", "freeze", lasts=(3.0, 6.0)),), CLEAN),
    Scenario(
        "primary-kill",
        "kill -9 of the primary",
        (Draw("mongod", "kill", "primary", (1.0, 3.0)),),
        (*CLEAN, Bound("pause_max", most=12.0), HEALS),
        size=_THREE,
        seconds=40,
        faults=2,
    ),
    Scenario(
        "primary-term",
        "SIGTERM of the primary",
        (Draw("mongod", "term", "primary", (1.0, 3.0)),),
        (*CLEAN, Bound("pause_max", most=12.0), HEALS),
        size=_THREE,
        seconds=40,
        faults=2,
    ),
    Scenario(
        "step-down",
        "the primary steps down",
        (Draw("mongod", "step-down", "primary", (5.0, 5.0)),),
        (*CLEAN, Bound("pause_max", most=12.0), HEALS),
        size=_THREE,
        seconds=40,
    ),
    steady(
        "primary-freeze",
        "SIGSTOP of the primary",
        long_fault("mongod", "freeze", "primary"),
        *CLEAN,
        Bound("pause_max", most=15.0),
        size=_THREE,
    ),
    steady(
        "primary-cut",
        "the primary does not reach the others, clients still reach it: nothing is acknowledged by the minority",
        long_fault("mongod", "cut", "primary", peer="mongod*"),
        *CLEAN,
        size=_THREE,
    ),
    steady(
        "primary-gone",
        "nobody reaches the primary",
        long_fault("mongod", "cut", "primary"),
        *CLEAN,
        Bound("pause_max", most=15.0),
        size=_THREE,
    ),
    steady(
        "secondary-freeze",
        "SIGSTOP of one secondary of two",
        Draw("mongod", "freeze", "secondary", (12.0, 12.0)),
        *NOT_NOTICED,
        size=_THREE,
    ),
    steady(
        "secondary-kill",
        "kill -9 of one secondary of two",
        Draw("mongod", "kill", "secondary", (12.0, 12.0)),
        *NOT_NOTICED,
        size=_THREE,
    ),
    steady(
        "secondary-cut",
        "nobody reaches one secondary of two",
        Draw("mongod", "cut", "secondary", (12.0, 12.0)),
        *NOT_NOTICED,
        size=_THREE,
    ),
    steady(
        "secondaries-freeze",
        "SIGSTOP of both secondaries: 503 in time",
        long_fault("mongod", "freeze", "secondaries"),
        *CLEAN,
        size=_THREE,
    ),
    Scenario(
        "mongod-wipe",
        "the primary's disk is empty when it comes back",
        (Draw("mongod", "wipe", "primary"),),
        CLEAN,
        size=_THREE,
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
    steady(
        "mongod-starved",
        "the database has a tenth of its CPU",
        long_fault("mongod", "starve", amount=0.09),
        *CLEAN,
        Bound("failed", most=0),
    ),
    steady(
        "disk-slow",
        "each sync of the database's disk takes 0.3 s longer",
        long_fault("mongod", "disk-slow", amount=0.3),
        *CLEAN,
        Bound("failed", most=0),
    ),
    steady(
        "disk-stuck",
        "each sync of the database's disk takes 10 s: 503 in time",
        long_fault("mongod", "disk-slow", amount=10.0),
        *CLEAN,
        Bound("failed", most=0),
    ),
    Scenario(
        "mongods-wiped",
        "all databases come back empty: 404 for what was stored, 503 until then, and new jobs run as ever",
        (Draw("mongod", "forget", "all", (5.0, 5.0)),),
        (*CLEAN, Bound("failed", most=0), Bound("forgotten", least=1), Bound("accepted_after", least=5)),
        shape="steady",
        seconds=40,
        jobs=600,
        forgets=True,
    ),
    Scenario(
        "mongod-clock-ahead",
        "the primary's clock goes 10 min ahead: leases end early, so calls may repeat",
        # Until after the load, for once it is right again what came before would wait 10 min.
        (Draw("mongod", "clock", "primary", (40.0, 40.0), amounts=(600.0,)),),
        CLEAN,
        shape="steady",
    ),
    steady(
        "mongod-clock-behind",
        "the primary's clock is 10 min behind",
        long_fault("mongod", "clock", "primary", amount=-600.0),
        *CLEAN,
    ),
)

_NO_SPIN = (Bound("edge_cpu", most=0.6), Bound("worker_cpu", most=0.6))
"""Clients of an absent broker do not burn a core looking for it."""

BROKER_ROWS = (
    Scenario("broker-kill", "kill -9 of the broker: its topics and bells are gone", (Draw("broker"),), NOT_NOTICED),
    Scenario(
        "broker-freeze",
        "SIGSTOP of the broker",
        (Draw("broker", "freeze", lasts=(3.0, 8.0)),),
        (*_NO_SPIN, *NOT_NOTICED),
        vitals=1.0,
    ),
    Scenario(
        "broker-down",
        "no broker at all: the sweep finds every job",
        (Draw("broker", "kill", "all", (18.0, 18.0)),),
        (Bound("claim_during_p50", most=3.0), Bound("accepted_share", least=0.8), *_NO_SPIN, *NOT_NOTICED),
        shape="steady",
        vitals=1.0,
        seconds=25,
    ),
    Scenario(
        "brokers-down-5min",
        "three brokers dead for 5 minutes: every job ends, claimed within 3 s at the median",
        (Draw("broker", "kill", "all", (300.0, 300.0)),),
        (
            Bound("claim_during_p50", most=3.0),
            Bound("accepted_share", least=0.8),
            Bound(
                "claim_after_p50", most=0.5
            ),  # bells ring again: whom only the sweep finds waits for more than a second
            *_NO_SPIN,
            *NOT_NOTICED,
        ),
        shape="steady",
        vitals=1.0,
        cluster=True,
        jobs=10_000,
        seconds=390,
    ),
    steady(
        "broker-cut",
        "one broker of three reaches nobody",
        long_fault("broker", "cut"),
        Bound("claim_during_p50", most=3.0),
        *NOT_NOTICED,
        cluster=True,
    ),
    steady(
        "broker-slow",
        "10 s to one broker of three",
        long_fault("broker", "delay", amount=10.0),
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
    steady(
        "broker-starved",
        "the broker has a tenth of its CPU",
        long_fault("broker", "starve", amount=0.09),
        Bound("claim_during_p50", most=3.0),
        Bound("accepted_share", least=0.8),
        *NOT_NOTICED,
    ),
    steady(
        "topic-deleted",
        "the topic of the load is deleted: nobody makes it again, the sweep finds every job",
        long_fault("broker", "delete-topic"),
        Bound("claim_during_p50", most=3.0),
        Bound("accepted_share", least=0.8),
        *NOT_NOTICED,
        cluster=True,
    ),
    Scenario(
        "poison-records",
        "random bytes, unknown ids, 900 KB and nothing in the topics",
        (Draw("broker", "poison"),),
        NOT_NOTICED,
    ),
)
