"""What is measured again, and which of the tries counts."""

from __future__ import annotations

from typing import Any, cast

import pytest

from bench import measure

ANYTHING = cast("Any", None)


async def calmest(monkeypatch: pytest.MonkeyPatch, others: list[int], **tries: int) -> list[dict[str, Any]]:
    """With these neighbours, one try after the other."""
    left = iter(others)

    async def once(*_: Any) -> dict[str, Any]:
        return {"others_percent": next(left)}

    monkeypatch.setattr(measure, "measure", once)
    return await measure.calmest(ANYTHING, ANYTHING, ANYTHING, ANYTHING, **tries)


async def test_without_neighbours_once_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await calmest(monkeypatch, [10, 0]) == [{"others_percent": 10}]


async def test_beside_neighbours_the_calmest_try_counts_and_the_others_are_marked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await calmest(monkeypatch, [20, 30, 25, 0]) == [
        {"others_percent": 30, "disturbed": True},
        {"others_percent": 25, "disturbed": True},
        {"others_percent": 20},
    ]
    assert (await calmest(monkeypatch, [20, 5, 0]))[-1] == {"others_percent": 5}


async def test_a_smoke_measures_once_whoever_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await calmest(monkeypatch, [90, 0], tries=1) == [{"others_percent": 90}]
