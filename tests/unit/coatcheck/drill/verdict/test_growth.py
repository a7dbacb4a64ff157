"""A soak is judged by what processes held, so here are processes that hold ever more, and some that do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coatcheck.drill.scenarios.catalogue import SCENARIOS
from coatcheck.drill.scenarios.scenario import broken
from coatcheck.drill.stack.processes import ProcessStats
from coatcheck.drill.verdict.growth import cpu_shares, growths, lines, table

FLAT = ProcessStats(at=0.0, rss_mb=70.0, descriptors=40, threads=9, connections=20, cpu_seconds=0.0)
SAMPLES = 360


def history(name: str = "worker0", **a_minute: float) -> dict[str, list[ProcessStats]]:
    """Half an hour of one process, a sample each 5 s, in which some quantity grows by so much a minute."""
    return {
        name: [
            replace(FLAT, at=5.0 * n, **{what: getattr(FLAT, what) + by * n / 12 for what, by in a_minute.items()})
            for n in range(SAMPLES + 1)
        ]
    }


def test_a_process_that_starts_small_and_then_stays_as_it_is_has_not_grown() -> None:
    warm = [replace(each, rss_mb=min(70.0, 40.0 + each.at / 10)) for each in history()["worker0"]]
    assert set(growths({"worker0": warm}).values()) == {0.0}


@pytest.mark.parametrize(
    ("quantity", "a_minute"), [("rss_mb", 0.7), ("descriptors", 0.6), ("threads", 0.3), ("connections", 0.6)]
)
def test_steady_growth_of_any_process_breaks_the_bound_of_the_soak(quantity: str, a_minute: float) -> None:
    found = growths({**history("edge0"), **history("worker1", **{quantity: a_minute})})
    assert found[f"{quantity}_growth"] == pytest.approx(10 * a_minute, rel=0.02)
    bounds = [bound for bound in SCENARIOS["soak"].bounds if bound.figure.endswith("_growth")]
    assert [line.partition(" ")[0] for line in broken(bounds, found)] == [f"{quantity}_growth"]


def test_a_moment_of_more_is_no_growth() -> None:
    flat = history()["worker0"]
    peaks = {n: replace(flat[n], descriptors=900) for n in range(0, SAMPLES, 4)}
    assert growths({"worker0": [peaks.get(n, each) for n, each in enumerate(flat)]})["descriptors_growth"] == 0.0


def test_a_database_may_fill_its_cache_and_a_broker_its_hour_up_to_a_limit() -> None:
    found = growths({**history(), **history("mongod0", rss_mb=20.0), **history("broker0", rss_mb=1.0)})
    assert (found["rss_mb_growth"], found["mongod_mb"], found["broker_mb"]) == (0.0, 670.0, 100.0)


def test_without_samples_nothing_is_said_and_so_no_bound_holds() -> None:
    bounds = [bound for bound in SCENARIOS["soak"].bounds if bound.figure.endswith("_growth")]
    assert len(broken(bounds, growths({}))) == len(bounds)


def test_the_busiest_process_of_a_component_stands_for_it() -> None:
    found = cpu_shares(
        {**history("edge0"), **history("edge0.1", cpu_seconds=30.0), **history("worker1", cpu_seconds=6.0)}
    )
    assert found == {"edge_cpu": 0.5, "worker_cpu": 0.1}


def test_the_table_has_four_moments_and_the_share_of_a_core() -> None:
    found = table(history(rss_mb=1.0, cpu_seconds=6.0))
    assert found["worker0"]["rss_mb"] == [70.0, 80.0, 90.0, 100.0]
    assert found["worker0"]["cpu_share"] == 0.1
    assert lines(found) == [
        "worker0: memory 70, 80, 90, 100 MB, descriptors 40, 40, 40, 40, threads 9, 9, 9, 9, "
        "connections 20, 20, 20, 20, 10.0 % of a core"
    ]
