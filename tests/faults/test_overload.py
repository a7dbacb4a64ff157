"""Ten times as many callers as an edge takes: the others are refused at once, and those it takes are served on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.ingress.edge import EdgeProcess
from tests.support.ingress.server import ROOT
from tests.support.servers.mongod import MongodSet

PLACES = 64
SECONDS = 5
ROUNDS = 5
"""Neighbours may spoil a round: one good one shows what the edge can do."""
AS_TOLD, HASTY = 1.0, 0.5
GOODPUT = {AS_TOLD: 0.8, HASTY: 0.65}
"""Accepted for each second of the edge's CPU, of the peak's; by the seconds after which the refused come back: as
Retry-After says, or twice as often. By CPU, for the callers live on the same two cores: a refused one connects again,
and takes more of them than one that is served."""
LEAST_RATE = 0.4
"""Of the peak's rate, whatever the callers take."""
GROWTH = 40 * 1024 * 1024


def load(edge: EdgeProcess, callers: int, patience: float) -> dict[str, Any]:
    """What so many callers are told in a few seconds; see tests/support/ingress/load.py."""
    command = [sys.executable, "-m", "tests.support.ingress.load"]
    arguments = [str(edge.port), str(callers), str(SECONDS), str(patience)]
    ran = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def accepted(edge: EdgeProcess, callers: int, patience: float) -> tuple[dict[str, Any], float]:
    """What so many callers are told, and how many were accepted for each second of the edge's CPU."""
    before = edge.cpu_seconds()
    told = load(edge, callers, patience)
    return told, told["statuses"]["202"] / (edge.cpu_seconds() - before)


def goodput(edge: EdgeProcess, patience: float) -> tuple[float, float]:
    """What is accepted under ten times the callers, as a share of the peak: by CPU, and by time."""
    peak, peak_each = accepted(edge, PLACES, 0)
    overload, each = accepted(edge, 10 * PLACES, patience)
    print(f"peak {peak}\noverload {overload}, {edge.memory() >> 20} MB, by CPU {each / peak_each:.2f}")
    assert set(overload["statuses"]) <= {"202", "503"}, overload
    assert overload["statuses"]["503"] > 10 * PLACES, "nobody was refused: this was no overload"
    assert overload["untold"] == 0, "a refusal did not say when to come back"
    return each / peak_each, overload["accepted_per_s"] / peak["accepted_per_s"]


def good(share: tuple[float, float], patience: float) -> bool:
    return share[0] >= GOODPUT[patience] and share[1] >= LEAST_RATE


@pytest.mark.parametrize("patience", GOODPUT)
def test_ten_times_the_callers_are_refused_or_served_and_cost_neither_memory_nor_the_goodput(
    mongod: MongodSet, tmp_path: Path, patience: float
) -> None:
    with EdgeProcess(tmp_path, mongod.uri, max_inflight_requests=PLACES) as edge:
        load(edge, PLACES, 0)  # connections, caches, code
        memory = edge.memory()
        shares = [goodput(edge, patience)]
        while len(shares) < ROUNDS and not good(shares[-1], patience):
            shares.append(goodput(edge, patience))
        assert good(shares[-1], patience), shares
        assert edge.memory() - memory < GROWTH
        assert edge.metric('coatcheck_guard_refusals_total{reason="busy_requests"}') > 0
        assert load(edge, PLACES // 2, 0)["statuses"].keys() == {"202"}, "not all of it came back"
        assert not edge.complaints()
