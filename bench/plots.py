"""Plots of a run as SVG, written by hand: bars of rates, latency by percentile, cost by component, growth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from bench import scenarios
from bench.targets import PRODUCT, Row

WIDTH, HEIGHT = 760, 340
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 56, 46
COLOURS = ("#1b6ca8", "#c8553d", "#588157", "#8d6a9f", "#d9a441", "#5c677d", "#2a9d8f")
_STEPS = [step * 10.0**power for power in range(-3, 7) for step in (1, 2, 5)]
_TEXT = 'font-family="sans-serif" font-size="12" fill="#222"'


@dataclass(frozen=True, slots=True)
class Axis:
    """The vertical axis: from a value to a pixel. Logarithmic axes begin at `low`, others at 0."""

    low: float
    high: float
    logarithmic: bool = False

    def y(self, value: float) -> float:
        """Pixels from the top."""
        if self.logarithmic:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = value / self.high
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def ticks(self) -> list[float]:
        """Where the axis is labelled."""
        if not self.logarithmic:
            step = 10 ** math.floor(math.log10(self.high))
            step = next(each for each in (step / 5, step / 2, step, step * 2) if self.high / each <= 6)
            return [number * step for number in range(int(self.high / step) + 1)]
        return [tick for tick in _STEPS if self.low <= tick <= self.high]


def _axis(values: Sequence[float], *, logarithmic: bool = False) -> Axis:
    if logarithmic:
        positive = [value for value in values if value > 0] or [1.0]
        low = max(tick for tick in _STEPS if tick <= max(min(positive), _STEPS[0]))
        return Axis(low, next(tick for tick in _STEPS if tick > max(positive)), True)
    return Axis(0.0, max([*values, 1e-9]) * 1.08)


def bars(title: str, unit: str, series: Mapping[str, Sequence[float]], groups: Sequence[str]) -> str:
    """Groups of bars, one colour per series."""
    axis = _axis([value for values in series.values() for value in values])
    parts = _frame(title, unit, axis, list(series))
    group_width = (WIDTH - LEFT - RIGHT) / len(groups)
    width = group_width * 0.8 / len(series)
    for at, group in enumerate(groups):
        left = LEFT + at * group_width
        parts.append(_label(left + group_width / 2, HEIGHT - BOTTOM + 18, group, "middle"))
        for number, values in enumerate(series.values()):
            x, y = left + group_width * 0.1 + number * width, axis.y(values[at])
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{width * 0.92:.1f}" height="{HEIGHT - BOTTOM - y:.1f}" '
                f'fill="{COLOURS[number % len(COLOURS)]}"/>'
            )
            parts.append(_label(x + width * 0.46, y - 4, _number(values[at]), "middle"))
    return _svg(parts)


def lines(title: str, unit: str, series: Mapping[str, Sequence[float]], along: Sequence[str]) -> str:
    """A line per series over the same places; the values are on a logarithmic axis."""
    axis = _axis([value for values in series.values() for value in values], logarithmic=True)
    parts = _frame(title, unit, axis, list(series))
    step = (WIDTH - LEFT - RIGHT) / max(1, len(along) - 1) * 0.94
    places = [LEFT + 16 + number * step for number in range(len(along))]
    parts += [_label(x, HEIGHT - BOTTOM + 18, name, "middle") for x, name in zip(places, along, strict=True)]
    for number, values in enumerate(series.values()):
        points = " ".join(f"{x:.1f},{axis.y(value):.1f}" for x, value in zip(places, values, strict=True))
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
    return _svg(parts)


def _frame(title: str, unit: str, axis: Axis, names: Sequence[str]) -> list[str]:
    parts = [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>']
    parts.append(f'<text x="{LEFT}" y="20" font-weight="bold" {_TEXT}>{escape(title)}</text>')
    parts.append(_label(LEFT - 8, TOP - 8, unit, "end"))
    for tick in axis.ticks():
        y = axis.y(tick)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(_label(LEFT - 8, y + 4, _number(tick), "end"))
    x = float(LEFT)
    for number, name in enumerate(names):
        parts.append(f'<rect x="{x:.0f}" y="30" width="10" height="10" fill="{COLOURS[number % len(COLOURS)]}"/>')
        parts.append(_label(x + 14, 39, name, "start"))
        x += 28 + 7 * len(name)
    return parts


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {_TEXT}>{escape(text)}</text>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _svg(parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
    return "\n".join([head, *parts, "</svg>", ""])


PERCENTILES = ("p10", "p25", "p50", "p75", "p90", "p95", "p99", "p999")


def plots(rows: Sequence[Row]) -> dict[str, str]:
    """File names and SVG of everything that these rows can show."""
    found = {(row["stack"], row["scenario"]): row for row in rows}
    stacks = [row["stack"] for row in rows if row["scenario"] == "idle"]
    made = {}
    rates = [
        ("accepted/s", scenarios.SUBMIT, "accepted_per_s"),
        ("jobs/s, 0 ms", scenarios.RESULT_0, "jobs_per_s"),
        ("jobs/s, 100 ms", scenarios.RESULT_100, "jobs_per_s"),
        ("polls/s", scenarios.STORM, "polls_per_s"),
    ]
    complete = [name for name in stacks if all((name, scenario) in found for _, scenario, _ in rates)]
    if complete:
        series = {name: [found[name, scenario][figure] for _, scenario, figure in rates] for name in complete}
        made["rates.svg"] = bars("What each stack does in a second", "1/s", series, [label for label, _, _ in rates])
        slow = {name: [found[name, scenarios.RATE_100]["result_ms"][each] for each in PERCENTILES] for name in complete}
        made["result-at-100.svg"] = lines(
            "Time to result at 100 arrivals a second, upstream 100 ms", "ms", slow, PERCENTILES
        )
        submit = {name: [found[name, scenarios.SUBMIT]["accept_ms"][each] for each in PERCENTILES] for name in complete}
        made["submit.svg"] = lines("Time to the 202, 128 callers", "ms", submit, PERCENTILES)
    if (PRODUCT, scenarios.RESULT_100) in found:
        made["cpu.svg"] = _cpu(found)
    return made


def _cpu(found: Mapping[tuple[str, str], Row]) -> str:
    """Milliseconds of CPU per job of the product, by component."""
    wanted = {
        "upstream 0 ms": scenarios.RESULT_0,
        "upstream 100 ms": scenarios.RESULT_100,
        "100 a second": scenarios.RATE_100,
    }
    shown = {label: found[PRODUCT, name]["cpu_ms"] for label, name in wanted.items() if (PRODUCT, name) in found}
    parts = ("mongod", "broker", "edge", "worker", "reaper")
    series = {part: [costs.get(part, 0.0) for costs in shown.values()] for part in parts}
    return bars("CPU per job by component", "ms", series, list(shown))
