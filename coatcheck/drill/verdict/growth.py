"""Whether processes grow while the load stays the same: the last third of a soak beside the one before it. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from coatcheck.drill.stack.processes import ProcessStats

History = Mapping[str, Sequence[ProcessStats]]
"""What each process held, sample by sample, by its name such as worker0 or edge0.1."""

QUANTITIES = ("rss_mb", "descriptors", "threads", "connections")
FILLED = ("mongod", "broker")
"""Components whose memory fills for longer than a soak lasts, with the pages of a cache or the records of an hour:
they are held to a limit instead."""


def growths(history: History) -> dict[str, float]:
    """For each quantity `<quantity>_growth`: the most by which any process's median in the last third lies above that
    in the second. Memory of databases and brokers: `mongod_mb` and `broker_mb`, the most that one held. Nothing of
    nothing.
    """
    found: dict[str, float] = {}
    for quantity in QUANTITIES:
        judged = [samples for name, samples in history.items() if quantity != "rss_mb" or not name.startswith(FILLED)]
        grown = [growth for samples in judged if (growth := _growth(samples, quantity)) is not None]
        if grown:
            found[f"{quantity}_growth"] = round(max(grown), 2)
    for component in FILLED:
        held = [each.rss_mb for name, samples in history.items() if name.startswith(component) for each in samples]
        if held:
            found[f"{component}_mb"] = round(max(held))
    return found


def cpu_shares(history: History) -> dict[str, float]:
    """For each component `<component>_cpu`: the share of a core that its busiest process had."""
    shares: dict[str, float] = {}
    for name, row in table(history).items():
        figure = f"{name.rstrip('0123456789.')}_cpu"
        shares[figure] = max(shares.get(figure, 0.0), row["cpu_share"])
    return shares


def table(history: History) -> dict[str, dict[str, Any]]:
    """For each process: each quantity at the start, after a third, after two and at the end; its share of a core."""
    return {name: _row(samples) for name, samples in history.items() if samples}


def lines(table: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [
        f"{name}: memory {_steps(row['rss_mb'])} MB, descriptors {_steps(row['descriptors'])}, threads "
        f"{_steps(row['threads'])}, connections {_steps(row['connections'])}, {100 * row['cpu_share']:.1f} % of a core"
        for name, row in table.items()
    ]


def _growth(samples: Sequence[ProcessStats], quantity: str) -> float | None:
    first, length = samples[0].at, samples[-1].at - samples[0].at
    second, last = (
        [getattr(each, quantity) for each in samples if third * length <= 3 * (each.at - first) <= (third + 1) * length]
        for third in (1, 2)
    )
    return float(statistics.median(last) - statistics.median(second)) if second and last else None


def _row(samples: Sequence[ProcessStats]) -> dict[str, Any]:
    first, last = samples[0], samples[-1]
    length = last.at - first.at
    moments = [samples[round((len(samples) - 1) * step / 3)] for step in range(4)]
    row: dict[str, Any] = {name: [round(getattr(each, name), 1) for each in moments] for name in QUANTITIES}
    return {**row, "cpu_share": round((last.cpu_seconds - first.cpu_seconds) / length, 4) if length else 0.0}


def _steps(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
