"""Ten times as many callers as an edge takes: the others are refused at once, and those it takes are served on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.door import ROOT
from tests.support.door_edge import EdgeProcess
from tests.support.mongod import MongodSet

PLACES = 64
SECONDS = 4
ROUNDS = 3
GOODPUT = 0.4
"""Of the peak. The callers live on the same two cores and take their share; docs/decisions/0002-the-door.md has figures
of a client that costs nearly nothing."""
GROWTH = 40 * 1024 * 1024


def load(edge: EdgeProcess, callers: int, patience: float) -> dict[str, Any]:
    """What so many callers are told in a few seconds; see tests/support/door_load.py."""
    command = [sys.executable, "-m", "tests.support.door_load"]
    arguments = [str(edge.port), str(callers), str(SECONDS), str(patience)]
    ran = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def test_ten_times_the_callers_are_refused_or_served_and_cost_neither_memory_nor_the_goodput(
    mongod: MongodSet, tmp_path: Path
) -> None:
    with EdgeProcess(tmp_path, mongod.uri, max_inflight_requests=PLACES) as edge:
        load(edge, PLACES, 0)  # connections, caches, code
        memory = edge.memory()
        shares: list[float] = []
        while len(shares) < ROUNDS and max(shares, default=0.0) < GOODPUT:
            peak = load(edge, PLACES, 0)
            overload = load(edge, 10 * PLACES, 0.5)
            print(f"peak {peak}\noverload {overload}, {edge.memory() >> 20} MB")
            assert set(overload["statuses"]) <= {"202", "503"}, overload
            assert overload["statuses"]["503"] > 10 * PLACES, "nobody was refused: this was no overload"
            assert overload["untold"] == 0, "a refusal did not say when to come back"
            shares.append(overload["accepted_per_s"] / peak["accepted_per_s"])
        assert max(shares) >= GOODPUT, shares
        assert edge.memory() - memory < GROWTH
        assert edge.metric('coatcheck_guard_refusals_total{reason="busy_requests"}') > 0
        assert load(edge, PLACES // 2, 0)["statuses"].keys() == {"202"}, "not all of it came back"
        assert not edge.complaints()
