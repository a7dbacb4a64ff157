"""The regression guard: CPU time per operation, in units of a fixed piece of work, against committed figures.

`python -m bench.guard` compares, `python -m bench.guard --write` commits new figures. A unit is measured right before
and after each operation, and the least of several rounds counts: what else runs on the machine only adds.
"""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from bench.guarded import JOBS, functions, rounds
from bench.plain import unit

FIGURES = Path(__file__).with_name("guard.json")
BOUND = 2.0
"""How many times its committed figure an operation may cost: other machines and Pythons differ by a third."""
ROUNDS = 15
ROUND_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Change:
    """An operation's figures, in units."""

    name: str
    committed: float
    measured: float

    @property
    def too_slow(self) -> bool:
        """Whether it is above the bound."""
        return self.measured > self.committed * BOUND


def microseconds_of_cpu(work: Callable[[], object]) -> float:
    """CPU time of one call."""
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1e6


def measure() -> dict[str, float]:
    """Units per operation, by name."""
    found = {}
    gc.collect()
    gc.freeze()
    gc.disable()  # a pass of it that falls into one operation and not another would be noise
    try:
        for name, function in functions().items():
            found[name] = _units(_repeated(function), 1)
        with asyncio.Runner() as runner:
            for name, operation in rounds().items():
                found[name] = _units(_run_in(runner, operation), JOBS)
    finally:
        gc.enable()
        gc.unfreeze()
    return {name: round(units, 2) for name, units in found.items()}


def _run_in(runner: asyncio.Runner, operation: Callable[[], Coroutine[None, None, None]]) -> Callable[[], float]:
    return lambda: microseconds_of_cpu(lambda: runner.run(operation()))


def _repeated(function: Callable[[], object]) -> Callable[[], float]:
    """Microseconds of one call, from as many as fill a round."""
    once = max(0.2, min(microseconds_of_cpu(function) for _ in range(20)))
    count = max(1, int(ROUND_SECONDS * 1e6 / once))

    def repeat() -> None:
        for _ in range(count):
            function()

    return lambda: microseconds_of_cpu(repeat) / count


def _units(work: Callable[[], float], operations: int) -> float:
    """The least of several rounds over the least unit around them."""
    costs, units = [], []
    for _ in range(ROUNDS):
        units.append(microseconds_of_cpu(unit) / 1000)
        costs.append(work())
    return min(costs) / operations / min(units)


def compare(committed: Mapping[str, float], measured: Mapping[str, float]) -> list[Change]:
    """Every measured operation; one without a committed figure counts as unchanged."""
    return [Change(name, committed.get(name, units), units) for name, units in measured.items()]


@click.command()
@click.option("--write", is_flag=True, help="Commit what is measured now.")
def main(write: bool) -> None:
    """Fail when an operation costs far more CPU than the committed figure says."""
    measured = measure()
    if write:
        FIGURES.write_text(json.dumps(measured, indent=2) + "\n")
    changes = compare(json.loads(FIGURES.read_text()), measured)
    for change in changes:
        mark = "TOO SLOW" if change.too_slow else "ok"
        click.echo(f"{change.name:28} {change.committed:8.2f} -> {change.measured:8.2f} units  {mark}")
    if any(change.too_slow for change in changes):
        raise SystemExit(
            f"an operation costs more than {BOUND} times its figure: make it cheaper, or say why and --write"
        )


if __name__ == "__main__":
    main()
