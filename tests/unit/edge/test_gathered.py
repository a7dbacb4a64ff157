"""Metrics that are gathered say the same as if each value had been written at once."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from edge.gathered import Gathered
from shared.metrics import observe_all


async def test_values_of_one_turn_are_written_together_by_key() -> None:
    written: list[tuple[str, list[float]]] = []
    gathered: Gathered[str] = Gathered(lambda key, values: written.append((key, values)))
    for key, value in [("a", 1.0), ("b", 2.0), ("a", 3.0)]:
        gathered.add(key, value)
    assert written == []
    await asyncio.sleep(0)
    assert written == [("a", [1.0, 3.0]), ("b", [2.0])]
    gathered.add("a")
    await asyncio.sleep(0)
    assert written[2:] == [("a", [1.0])]


@given(st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.50001, 1.0, 2.0, 1e9]), max_size=20))
def test_many_observations_at_once_are_many_observations(values: list[float]) -> None:
    registries = [CollectorRegistry(), CollectorRegistry()]
    single, together = (Histogram("h", "", registry=each, buckets=(0.1, 0.5, 1.0)) for each in registries)
    for value in values:
        single.observe(value)
    observe_all(together, values)
    samples = [
        [(each.name, each.labels, each.value) for each in next(iter(of.collect())).samples] for of in (single, together)
    ]
    assert [s for s in samples[0] if "created" not in s[0]] == [s for s in samples[1] if "created" not in s[0]]
