"""Rows of the fault matrix in which the members of one component are broken."""

from __future__ import annotations

from coatcheck.drill.model.plan import Draw
from coatcheck.drill.scenarios.scenario import CLEAN, NONE_FAILED, NOT_NOTICED, Bound, Scenario
from coatcheck.drill.stack.cluster import Size

CLOCK = (-600.0, 600.0)

_HEALS = Bound("recovery_max", most=15.0)
"""A job that is accepted after a fault ends in this time, in which elections and groups find together again."""

_SWEPT = Bound("claim_during_p50", most=3.0)
"""The sweep finds jobs whose notifications are lost."""

_ACCEPTS = Bound("accepted_share", least=0.8)

_THREE = Size(databases=3)
_ELECTION = (*CLEAN, Bound("pause_max", most=12.0), _HEALS)
_LONG_PAUSE = Bound("pause_max", most=15.0)
_JOBS_RUN = (Bound("claim_during_p50", most=1.0), *NOT_NOTICED)

_NO_SPIN = (Bound("edge_cpu", most=0.6), Bound("worker_cpu", most=0.6))
"""Clients of an absent broker do not burn a core looking for it."""

_CLAIMED_AFTER = Bound("claim_after_p50", most=0.5)
"""Notifications are published again: whom only the sweep finds waits for more than a second."""


def _long_fault(component: str, kind: str, node: int | str = 0, *, peer: str = "*", amount: float = 0.0) -> Draw:
    """A fault of 12 s, four leases long, for a load of 20 s."""
    return Draw(component, kind, node, (12.0, 12.0), peer, (amount,))


def _steady(
    name: str, says: str, draw: Draw, *bounds: Bound, cluster: bool = False, size: Size | None = None
) -> Scenario:
    """A row whose one fault begins when a tenth of the load's time is over, and is soon forgotten when it is."""
    return Scenario(name, says, (draw,), (*bounds, _HEALS), shape="steady", cluster=cluster, size=size)


COMPONENT_ROWS = (
    Scenario("edge-kill", "kill -9 of edges with submits in flight", (Draw("edge"),), jobs=600, seconds=40.0),
    Scenario("edge-freeze", "SIGSTOP of one of two edges", (Draw("edge", "freeze", lasts=(3.0, 6.0)),),
             size=Size(edges=2)),
    _steady("edge-mongod-cut", "no edge reaches a database: 503 in time",
            _long_fault("edge", "cut", "all", peer="mongod*"), *CLEAN),
    _steady("edge-mongod-slow", "10 s between edges and databases: 503 in time, no job twice",
            _long_fault("edge", "delay", "all", peer="mongod*", amount=10.0), *CLEAN),
    _steady("edge-broker-cut", "no edge reaches a broker: accepts as ever, the sweep finds the jobs",
            _long_fault("edge", "cut", "all", peer="broker*"), _ACCEPTS, _SWEPT, *NOT_NOTICED),
    Scenario("edge-reset", "connections of clients are reset",
             (Draw("edge", "reset", lasts=(0.2, 2.0), peer="client"),)),
    Scenario("edge-truncate", "answers to clients break off",
             (Draw("edge", "truncate", lasts=(0.2, 2.0), peer="client"),)),
    Scenario("edge-clock", "an edge's clock is 10 min wrong",
             (Draw("edge", "clock", lasts=(3.0, 5.0), amounts=CLOCK),), NOT_NOTICED),
    Scenario("edge-process-kill",
             "kill -9 of one of an edge's two server processes: the other one serves, and it is replaced",
             (Draw("edge", "kill-one", lasts=(0.1, 0.1)),), NOT_NOTICED, environ={"COATCHECK_EDGE_PROCESSES": "2"}),
    _steady("edge-starved", "an edge has a tenth of its CPU",
            _long_fault("edge", "starve", amount=0.09), NONE_FAILED, Bound("unanswered", most=0)),
    _steady("edge-disk-full",
            "no room for an edge's logs and metrics, and its server process must start so: it serves as ever",
            _long_fault("edge", "no-room"), *NOT_NOTICED),

    Scenario("worker-kill", "kill -9 of workers with calls in flight", (Draw("worker"),),
             (Bound("result_max", most=20),)),
    Scenario("worker-term", "SIGTERM of workers: jobs are given back", (Draw("worker", "term"),), NOT_NOTICED),
    Scenario("worker-freeze", "SIGSTOP of workers beyond their leases", (Draw("worker", "freeze", lasts=(4.0, 8.0)),)),
    _steady("worker-mongod-cut", "a worker does not reach a database for four leases while its calls are answered",
            _long_fault("worker", "cut", peer="mongod*"), *NOT_NOTICED),
    _steady("worker-mongod-slow", "10 s between a worker and the databases: its leases run out, others take over",
            _long_fault("worker", "delay", peer="mongod*", amount=10.0), *NOT_NOTICED),
    _steady("worker-broker-cut", "no worker reaches a broker: the sweep finds the jobs",
            _long_fault("worker", "cut", "all", peer="broker*"), _SWEPT, *NOT_NOTICED),
    Scenario("worker-clock", "a worker's clock is 10 min wrong",
             (Draw("worker", "clock", lasts=(3.0, 5.0), amounts=CLOCK),), NOT_NOTICED),
    _steady("worker-starved", "a worker has a tenth of its CPU",
            _long_fault("worker", "starve", amount=0.09), *NOT_NOTICED),

    Scenario("reaper-kill", "kill -9 of reapers", (Draw("reaper"),), NOT_NOTICED),
    _steady("reapers-down", "no reaper at all: jobs run", _long_fault("reaper", "kill", "all"), *_JOBS_RUN),
    Scenario("reaper-freeze", "SIGSTOP of reapers", (Draw("reaper", "freeze", lasts=(3.0, 8.0)),), NOT_NOTICED),
    Scenario("reaper-clock", "a reaper's clock is 10 min wrong",
             (Draw("reaper", "clock", lasts=(3.0, 5.0), amounts=CLOCK),), NOT_NOTICED),
    _steady("reaper-mongod-cut", "no reaper reaches a database: jobs run",
            _long_fault("reaper", "cut", "all", peer="mongod*"), *_JOBS_RUN),
    _steady("reaper-mongod-slow", "10 s between reapers and databases: jobs run",
            _long_fault("reaper", "delay", "all", peer="mongod*", amount=10.0), *_JOBS_RUN),

    Scenario("mongod-kill", "kill -9 of the only database", (Draw("mongod"),), CLEAN),
    Scenario("mongod-freeze", "SIGSTOP of the only database", (Draw("mongod", "freeze", lasts=(3.0, 6.0)),), CLEAN),
    Scenario("primary-kill", "kill -9 of the primary",
             (Draw("mongod", "kill", "primary", (1.0, 3.0)),), _ELECTION, size=_THREE, seconds=40, faults=2),
    Scenario("primary-term", "SIGTERM of the primary",
             (Draw("mongod", "term", "primary", (1.0, 3.0)),), _ELECTION, size=_THREE, seconds=40, faults=2),
    Scenario("step-down", "the primary steps down",
             (Draw("mongod", "step-down", "primary", (5.0, 5.0)),), _ELECTION, size=_THREE, seconds=40),
    _steady("primary-freeze", "SIGSTOP of the primary",
            _long_fault("mongod", "freeze", "primary"), *CLEAN, _LONG_PAUSE, size=_THREE),
    _steady("primary-cut",
            "the primary does not reach the others, clients still reach it: nothing is acknowledged by the minority",
            _long_fault("mongod", "cut", "primary", peer="mongod*"), *CLEAN, size=_THREE),
    _steady("primary-gone", "nobody reaches the primary",
            _long_fault("mongod", "cut", "primary"), *CLEAN, _LONG_PAUSE, size=_THREE),
    _steady("secondary-freeze", "SIGSTOP of one secondary of two",
            _long_fault("mongod", "freeze", "secondary"), *NOT_NOTICED, size=_THREE),
    _steady("secondary-kill", "kill -9 of one secondary of two",
            _long_fault("mongod", "kill", "secondary"), *NOT_NOTICED, size=_THREE),
    _steady("secondary-cut", "nobody reaches one secondary of two",
            _long_fault("mongod", "cut", "secondary"), *NOT_NOTICED, size=_THREE),
    _steady("secondaries-freeze", "SIGSTOP of both secondaries: 503 in time",
            _long_fault("mongod", "freeze", "secondaries"), *CLEAN, size=_THREE),
    Scenario("mongod-wipe", "the primary's disk is empty when it comes back",
             (Draw("mongod", "wipe", "primary"),), CLEAN, size=_THREE, seconds=30, faults=1),
    Scenario("disk-full", "the database's disk is full for longer than its journal and the next checkpoint have room",
             (Draw("mongod", "disk-full", 0, (70.0, 70.0)),), CLEAN, shape="steady", jobs=800, seconds=80),
    _steady("mongod-starved", "the database has a tenth of its CPU",
            _long_fault("mongod", "starve", amount=0.09), *CLEAN, NONE_FAILED),
    _steady("disk-slow", "each sync of the database's disk takes 0.3 s longer",
            _long_fault("mongod", "disk-slow", amount=0.3), *CLEAN, NONE_FAILED),
    _steady("disk-stuck", "each sync of the database's disk takes 10 s: 503 in time",
            _long_fault("mongod", "disk-slow", amount=10.0), *CLEAN, NONE_FAILED),
    Scenario("mongods-wiped",
             "all databases come back empty: 404 for what was stored, 503 until then, and new jobs run as ever",
             (Draw("mongod", "forget", "all", (5.0, 5.0)),),
             (*CLEAN, NONE_FAILED, Bound("forgotten", least=1), Bound("accepted_after", least=5)),
             shape="steady", seconds=40, jobs=600, forgets=True),
    # Until the load has ended: jobs submitted before the clock is set back would wait 10 min.
    Scenario("mongod-clock-ahead", "the primary's clock goes 10 min ahead: leases end early, so calls may repeat",
             (Draw("mongod", "clock", "primary", (40.0, 40.0), amounts=(600.0,)),), CLEAN, shape="steady"),
    _steady("mongod-clock-behind", "the primary's clock is 10 min behind",
            _long_fault("mongod", "clock", "primary", amount=-600.0), *CLEAN),

    Scenario("broker-kill", "kill -9 of the broker: its topics and notifications are gone",
             (Draw("broker"),), NOT_NOTICED),
    Scenario("broker-freeze", "SIGSTOP of the broker",
             (Draw("broker", "freeze", lasts=(3.0, 8.0)),), (*_NO_SPIN, *NOT_NOTICED), process_stats=1.0),
    Scenario("broker-down", "no broker at all: the sweep finds every job",
             (Draw("broker", "kill", "all", (18.0, 18.0)),), (_SWEPT, _ACCEPTS, *_NO_SPIN, *NOT_NOTICED),
             shape="steady", process_stats=1.0, seconds=25),
    Scenario("brokers-down-5min", "three brokers dead for 5 minutes: every job ends, claimed within 3 s at the median",
             (Draw("broker", "kill", "all", (300.0, 300.0)),),
             (_SWEPT, _ACCEPTS, _CLAIMED_AFTER, *_NO_SPIN, *NOT_NOTICED),
             shape="steady", process_stats=1.0, cluster=True, jobs=10_000, seconds=390),
    _steady("broker-cut", "one broker of three reaches nobody",
            _long_fault("broker", "cut"), _SWEPT, *NOT_NOTICED, cluster=True),
    _steady("broker-slow", "10 s to one broker of three",
            _long_fault("broker", "delay", amount=10.0), _SWEPT, *NOT_NOTICED, cluster=True),
    Scenario("broker-wipe", "a broker's disk is empty when it comes back",
             (Draw("broker", "wipe"),), NOT_NOTICED, cluster=True, seconds=30, faults=2),
    _steady("broker-starved", "the broker has a tenth of its CPU",
            _long_fault("broker", "starve", amount=0.09), _SWEPT, _ACCEPTS, *NOT_NOTICED),
    _steady("topic-deleted", "the topic of the load is deleted: nobody makes it again, the sweep finds every job",
            _long_fault("broker", "delete-topic"), _SWEPT, _ACCEPTS, *NOT_NOTICED, cluster=True),
    Scenario("poison-records", "random bytes, unknown ids, 900 KB and nothing in the topics",
             (Draw("broker", "poison"),), NOT_NOTICED),
)  # fmt: skip
