"""Plots are well-formed pictures of the figures."""

from __future__ import annotations

from xml.etree import ElementTree

from bench import scenarios
from bench.plots import PERCENTILES, bars, lines, plots
from tests.unit.bench.test_targets import row

SVG = "{http://www.w3.org/2000/svg}"


def test_a_bar_is_as_high_as_its_share_of_the_largest() -> None:
    drawn = ElementTree.fromstring(bars("Title", "1/s", {"a & b": [100.0, 50.0]}, ["one", "two"]))
    heights = [float(each.get("height", "")) for each in drawn.iter(f"{SVG}rect")][2:]  # the ground and the legend
    assert len(heights) == 2
    assert round(heights[0] / heights[1], 1) == 2.0


def test_a_line_runs_through_every_value_within_the_picture() -> None:
    drawn = ElementTree.fromstring(lines("Title", "ms", {"a": [0.2, 30.0, 4000.0]}, ["p50", "p99", "p999"]))
    (line,) = drawn.iter(f"{SVG}polyline")
    heights = [float(point.split(",")[1]) for point in line.get("points", "").split()]
    assert sorted(heights, reverse=True) == heights
    assert 0 < heights[-1] < heights[0] < 340


def test_a_run_without_peers_and_without_rows_is_drawn_as_far_as_it_goes() -> None:
    assert plots([]) == {}
    series = dict.fromkeys(PERCENTILES, 3.0)
    names = (scenarios.SUBMIT, scenarios.RESULT_0, scenarios.RESULT_100, scenarios.STORM, scenarios.RATE_100)
    rows = [row("coatcheck", name, polls_per_s=9.0, accept_ms=series, result_ms=series) for name in names]
    drawn = plots([*rows, {"stack": "coatcheck", "scenario": "idle"}])
    assert {"rates.svg", "submit.svg", "result-at-100.svg", "cpu.svg"} <= drawn.keys()
    for picture in drawn.values():
        ElementTree.fromstring(picture)
