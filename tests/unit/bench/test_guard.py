"""The regression guard can fail, and watches what it has figures for."""

from __future__ import annotations

import json

from bench import guard
from bench.guarded import functions, rounds
from bench.studies.drain import rate


def test_an_operation_above_its_bound_is_too_slow() -> None:
    slower, same = guard.compare({"a": 1.0, "b": 1.0}, {"a": guard.BOUND * 1.01, "b": guard.BOUND * 0.99})
    assert slower.too_slow
    assert not same.too_slow


def test_every_watched_operation_has_a_committed_figure_and_no_other() -> None:
    assert set(json.loads(guard.FIGURES.read_text())) == {*functions(), *rounds()}


def test_every_watched_function_runs() -> None:
    for function in functions().values():
        function()


async def test_every_watched_round_runs() -> None:
    for operation in rounds().values():
        await operation()


def test_a_rate_is_taken_where_its_share_of_the_jobs_ended() -> None:
    series = [(float(second), min(1000, second * 10)) for second in range(50)]
    series += [(50.0 + second, 500 + second * 5) for second in range(101)]
    assert round(rate(series, 0.0, 0.1)) == 10
    assert round(rate(series, 0.9, 1.0)) == 5
