"""Ten times as many callers as an edge takes: the others are refused at once, and those it takes are served on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.door import ROOT
from tests.support.door_edge import EdgeProcess
from tests.support.mongod import MongodSet

PLACES = 64
SECONDS = 5
ROUNDS = 5
"""Neighbours may spoil a round: one good one shows what the edge can do."""
AS_TOLD, HASTY = 1.0, 0.5
GOODPUT = {AS_TOLD: 0.8, HASTY: 0.4}
"""Of the peak, by the seconds after which the refused come back: as Retry-After says, or twice as often. The callers
live on the same two cores and take their share of them; docs/decisions/0002-the-door.md has more figures."""
GROWTH = 40 * 1024 * 1024


def load(edge: EdgeProcess, callers: int, patience: float) -> dict[str, Any]:
    """What so many callers are told in a few seconds; see tests/support/door_load.py."""
    command = [sys.executable, "-m", "tests.support.door_load"]
    arguments = [str(edge.port), str(callers), str(SECONDS), str(patience)]
    ran = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def goodput(edge: EdgeProcess, patience: float) -> float:
    """Accepted a second under ten times the callers, as a share of what is accepted without them."""
    peak = load(edge, PLACES, 0)
    overload = load(edge, 10 * PLACES, patience)
    print(f"peak {peak}\noverload {overload}, {edge.memory() >> 20} MB")
    assert set(overload["statuses"]) <= {"202", "503"}, overload
    assert overload["statuses"]["503"] > 10 * PLACES, "nobody was refused: this was no overload"
    assert overload["untold"] == 0, "a refusal did not say when to come back"
    share: float = overload["accepted_per_s"] / peak["accepted_per_s"]
    return share


@pytest.mark.parametrize("patience", GOODPUT)
def test_ten_times_the_callers_are_refused_or_served_and_cost_neither_memory_nor_the_goodput(
    mongod: MongodSet, tmp_path: Path, patience: float
) -> None:
    with EdgeProcess(tmp_path, mongod.uri, max_inflight_requests=PLACES) as edge:
        load(edge, PLACES, 0)  # connections, caches, code
        memory = edge.memory()
        shares: list[float] = []
        while len(shares) < ROUNDS and max(shares, default=0.0) < GOODPUT[patience]:
            shares.append(goodput(edge, patience))
        assert max(shares) >= GOODPUT[patience], shares
        assert edge.memory() - memory < GROWTH
        assert edge.metric('coatcheck_guard_refusals_total{reason="busy_requests"}') > 0
        assert load(edge, PLACES // 2, 0)["statuses"].keys() == {"202"}, "not all of it came back"
        assert not edge.complaints()
