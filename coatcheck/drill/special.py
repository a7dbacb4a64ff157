"""Rows whose load is special: answers that say when to come back, payloads that kill, jobs that last."""

from __future__ import annotations

from coatcheck.drill.plan import Draw
from coatcheck.drill.scenarios import CLEAN, NOT_NOTICED, Scenario

SPECIAL_ROWS = (
    Scenario(
        "bells-again",
        "bells of jobs that wait or run ring again and again: nothing is called early or twice",
        (Draw("broker", "ring-again", lasts=(8.0, 8.0)),),
        NOT_NOTICED,
        shape="steady",
        jobs=200,
        seconds=12.0,
        models=("upstream/latency={latency}", "upstream/first=1,status=500,retry_after=3,latency={latency}"),
    ),
    Scenario(
        "primary-kill-ahead",
        "the primary is killed with writes that the others do not have: none was acknowledged",
        (Draw("mongod", "kill-ahead", "primary", (4.0, 4.0)),),
        CLEAN,
        shape="steady",
        cluster=True,
    ),
)
