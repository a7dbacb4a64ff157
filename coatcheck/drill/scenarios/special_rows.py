"""Rows whose load is special: answers that say when to come back, payloads that kill, jobs that last."""

from __future__ import annotations

import sys

from coatcheck.drill.model.plan import Draw
from coatcheck.drill.scenarios.scenario import CLEAN, NO_ERRORS, NONE_FAILED, NOT_NOTICED, Bound, Scenario
from coatcheck.drill.stack.cluster import Size
from coatcheck.drill.upstream.odd_answers import ODD_ANSWERS

_MORTAL = (sys.executable, "-m", "coatcheck.drill.stack.crashing_worker")
_NEIGHBOUR, _POISON = ("upstream/latency={latency}",), ("upstream/poison",)
_REFUSED = """
[providers.refused]
kind = "openai"
base_url = "http://127.0.0.1:1/v1"
"""
_BROKEN = ("reset", "cut", "truncate", "html", "page", "error200")


def _exactly(figure: str, value: float) -> tuple[Bound, Bound]:
    return Bound(figure, most=value), Bound(figure, least=value)


def _all_fail(jobs: int) -> tuple[Bound, ...]:
    return Bound("failed", least=jobs), NO_ERRORS


SPECIAL_ROWS = (
    Scenario("poison-payload",
             "one payload kills its worker, each time: it alone fails, at its crash limit; none of its neighbours does",
             bounds=(*_exactly("failed", 1), *_exactly("deaths", 5), Bound("calls_at_once", least=100)),
             jobs=480, seconds=6.0, models=_NEIGHBOUR * 240 + _POISON + _NEIGHBOUR * 239, latencies=(1500, 2000),
             patience=240.0, commands={"worker": _MORTAL}, deadly=True, reasons=("leases ran out",)),
    Scenario("worker-dies-between",
             "kill -9 of workers between a job's claim and its call, and between the answer and the record",
             bounds=(*NOT_NOTICED, Bound("deaths", least=3), Bound("deaths", most=6)), jobs=240, seconds=36.0,
             models=(*_NEIGHBOUR * 39, "upstream/dies-when-claimed", *_NEIGHBOUR * 39, "upstream/dies-when-answered"),
             commands={"worker": _MORTAL}, deadly=True),
    Scenario("database-outage",
             "no database for 60 s with 500 calls in flight: their results are kept, hardly any is called again",
             (Draw("mongod", "kill", "all", (60.0, 60.0)),),
             (*CLEAN, NONE_FAILED, Bound("repeated_share", most=0.01), Bound("calls_at_once", least=500)),
             shape="late", jobs=600, seconds=12.0, latencies=(15_000, 20_000), clients=100),
    Scenario("long-job-term", "SIGTERM of workers with long jobs: they are given back and run elsewhere within seconds",
             (Draw("worker", "term", lasts=(0.5, 0.5)),), (*NOT_NOTICED, Bound("resumed_max", most=5.0)),
             shape="in turn", jobs=40, seconds=20.0, latencies=(20_000,)),
    Scenario("eviction-loop",
             "SIGTERM of all workers again and again, no job gets done: each ends as failed, and says why",
             (Draw("worker", "term", "all", lasts=(0.2, 0.2)),), _all_fail(20), jobs=20, seconds=6.0, faults=6,
             latencies=(600_000,), environ={"COATCHECK_MAX_RELEASES": "2"}, reasons=("given back",)),

    Scenario("provider-refuses",
             "nobody listens where the provider should be: its jobs fail after their tries, those of others do not",
             bounds=(*_exactly("failed", 50), NO_ERRORS), jobs=100, seconds=5.0,
             models=("refused/anything", *_NEIGHBOUR), settings=_REFUSED,
             reasons=("connection to the provider failed", "no connection to the provider")),
    Scenario("provider-hangs", "no answer ever: each job fails at its own deadline of 6 s",
             bounds=(*_all_fail(50), Bound("result_max", most=9.0)), jobs=50, seconds=5.0,
             models=("upstream/mode=hang",), headers=(("x-coatcheck-deadline", "6"),), reasons=("deadline",)),
    Scenario("provider-drips", "an answer comes byte by byte, for longer than a job's deadline of 6 s: it fails then",
             bounds=(*_all_fail(50), Bound("result_max", most=9.0)), jobs=50, seconds=5.0,
             models=("upstream/mode=drip",), headers=(("x-coatcheck-deadline", "6"),), reasons=("deadline",)),
    Scenario("provider-breaks",
             "the first answer is reset, cut, half, a web page or an error with 200: never a half result",
             bounds=NOT_NOTICED, jobs=120, seconds=8.0,
             models=tuple(f"upstream/first=1,mode={mode},latency={{latency}}" for mode in _BROKEN)),
    Scenario("provider-floods",
             "200 MB of JSON, or of zeros in a small gzip: these jobs fail, others do not, and no worker swells",
             bounds=(*_exactly("failed", 20), NO_ERRORS, Bound("worker_mb", most=500)), jobs=100, seconds=10.0,
             models=(*_NEIGHBOUR * 4, "upstream/mode=bomb", *_NEIGHBOUR * 4, "upstream/mode=huge"),
             reasons=("larger than",)),
    Scenario("provider-odd",
             "NUL, lone surrogates, 100,000 levels, 20 MB or broken UTF-8 in an answer: kept as it is, or failed",
             bounds=(NO_ERRORS, Bound("failed", most=48), Bound("deaths", most=0)), jobs=96, seconds=12.0,
             models=tuple(model for odd in ODD_ANSWERS for model in (f"upstream/{odd}", *_NEIGHBOUR))),
    Scenario("provider-says-when", "429 with Retry-After: nobody comes before that, and nobody fails",
             bounds=NOT_NOTICED, jobs=100, seconds=8.0,
             models=("upstream/first=1,status=429,retry_after=3,latency={latency}", *_NEIGHBOUR)),

    Scenario("herd", "5,000 pollers wait for one job, each over its own connection: all see the same end",
             bounds=(*NOT_NOTICED, Bound("herd_saw_the_end", least=5000), Bound("herd_ends", most=1),
                     Bound("herd_wrong", most=0), Bound("herd_odd", most=0), Bound("herd_poll_p99", most=2.0)),
             jobs=60, seconds=12.0, herd=5000),
    Scenario("retry-storm",
             "no database for 15 s, then everybody who was refused comes back: more than ten times the usual traffic",
             (Draw("mongod", "kill", "all", (15.0, 15.0)),), (*CLEAN, NONE_FAILED, Bound("unaccepted", most=0)),
             shape="steady", jobs=1500, seconds=30.0, latencies=(5, 50), clients=200),

    Scenario("notifications-again",
             "notifications of jobs that wait or run notify again and again: nothing is called early or twice",
             (Draw("broker", "notify-again", lasts=(8.0, 8.0)),), NOT_NOTICED, shape="steady", jobs=200, seconds=12.0,
             models=(*_NEIGHBOUR, "upstream/first=1,status=500,retry_after=3,latency={latency}")),
    Scenario("primary-kill-ahead",
             "the primary is killed with writes that the others do not have: none was acknowledged",
             (Draw("mongod", "kill-ahead", "primary", (4.0, 4.0)),), CLEAN, shape="steady", size=Size(databases=3)),

    Scenario("soak",
             "half an hour at 70 % of what two workers with 10 slots can do: no process grows, ended jobs expire",
             bounds=(*NOT_NOTICED, Bound("claim_p99", most=5.0),
                     Bound("rss_mb_growth", most=6.0),  # a leak of 0.7 KB a job
                     Bound("descriptors_growth", most=5.0), Bound("threads_growth", most=2.0),
                     Bound("connections_growth", most=5.0), Bound("mongod_mb", most=800.0),
                     Bound("broker_mb", most=200.0), Bound("kept", most=6000.0)),
             jobs=21_600, seconds=1800.0, latencies=(1000,), keeps=300, process_stats=5.0,
             environ={"COATCHECK_SLOTS": "10"}),
)  # fmt: skip
