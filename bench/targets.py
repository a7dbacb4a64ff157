"""What is to be reached, and whether a run reached it: figures against the peers' in the same run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench import scenarios

Row = Mapping[str, Any]
PRODUCT, BATCHING = "coatcheck", "coatcheck, micro-batches"
UPSTREAM_MS = 100.0
MOST_MB_PER_PROCESS = 150
LONGEST = scenarios.vectors(max(scenarios.NUMBERS))


class Missing(Exception):
    """A row or figure that a target needs was not measured."""


class Figures:
    """The rows of one run by stack and scenario."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = {(row["stack"], row["scenario"]): row for row in rows}

    def row(self, stack: str, scenario: str) -> Row:
        """The last row of a stack in a scenario. Raises Missing."""
        try:
            return self._rows[stack, scenario]
        except KeyError:
            raise Missing(f"{stack}: {scenario}") from None

    def ratio(self, scenario: str, figure: Callable[[Row], float], other: str, ours: str = PRODUCT) -> float:
        """Ours over theirs. Raises Missing."""
        theirs = figure(self.row(other, scenario))
        if theirs <= 0:
            raise Missing(f"{other}: {scenario}")
        return figure(self.row(ours, scenario)) / theirs


@dataclass(frozen=True, slots=True)
class Target:
    """`measure` gives the figure; `bound` is the least of it, or the most if `most`."""

    name: str
    bound: float
    measure: Callable[[Figures], float]
    most: bool = False
    unit: str = "x"
    by_cost: Callable[[Figures], float] | None = None
    """The same ratio from CPU per job, which what else runs on the machine disturbs less than rates."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target and what came out; `figure` is None where it was not measured."""

    target: Target
    figure: float | None
    by_cost: float | None = None

    @property
    def outcome(self) -> str:
        """met, missed or not measured; unclear where the rates say one thing and the CPU per job the other."""
        if self.figure is None:
            return "not measured"
        found = {self._reached(each) for each in (self.figure, self.by_cost) if each is not None}
        if len(found) > 1:
            return "unclear"
        return "met" if found == {True} else "missed"

    def _reached(self, figure: float) -> bool:
        return figure <= self.target.bound if self.target.most else figure >= self.target.bound


def accepted(row: Row) -> float:
    """Accepted jobs per second."""
    return float(row["accepted_per_s"])


def ended(row: Row) -> float:
    """Collected results per second."""
    return float(row["jobs_per_s"])


def submit_p99(row: Row) -> float:
    """Milliseconds from sending a request to its 202."""
    return float(row["accept_ms"]["p99"])


def above_upstream(percentile: str) -> Callable[[Row], float]:
    """Milliseconds of a result's time that are not the upstream's."""
    return lambda row: float(row["result_ms"][percentile]) - UPSTREAM_MS


def stack_cpu(row: Row) -> float:
    """CPU milliseconds per job, the upstream's left out."""
    return sum(float(value) for part, value in row["cpu_ms"].items() if part != "upstream")


def _ratio(
    scenario: str, figure: Callable[[Row], float], other: str, ours: str = PRODUCT
) -> Callable[[Figures], float]:
    return lambda figures: figures.ratio(scenario, figure, other, ours)


def _cheaper(scenario: str, other: str, ours: str = PRODUCT) -> Callable[[Figures], float]:
    return lambda figures: 1 / figures.ratio(scenario, stack_cpu, other, ours)


def _vectors(figures: Figures) -> float:
    """The rate of results with the longest vectors, over that of tiny ones."""
    return ended(figures.row(PRODUCT, LONGEST)) / ended(figures.row(PRODUCT, scenarios.RESULT_0))


def _vectors_by_cost(figures: Figures) -> float:
    return stack_cpu(figures.row(PRODUCT, scenarios.RESULT_0)) / stack_cpu(figures.row(PRODUCT, LONGEST))


def _idle(figures: Figures, part: str = "") -> float:
    percent = figures.row(PRODUCT, "idle")["cpu_percent"]
    return float(percent[part] if part else sum(percent.values()))


def _polls(figures: Figures) -> float:
    limit = float(figures.row("constant", scenarios.STORM)["accepted_per_s"])
    return float(figures.row(PRODUCT, scenarios.STORM)["polls_per_s"]) / limit


def _polls_by_cost(figures: Figures) -> float:
    row = figures.row(PRODUCT, scenarios.STORM)
    return stack_cpu(figures.row("constant", scenarios.STORM)) / stack_cpu(row)


def _poll_p99(figures: Figures) -> float:
    return float(figures.row(PRODUCT, scenarios.STORM)["poll_ms_seen"]["p99"])


def _largest_python(figures: Figures) -> float:
    row = figures.row(PRODUCT, scenarios.RESULT_0)
    return float(max(size for part, size in row["largest_mb"].items() if part not in ("mongod", "broker")))


def targets() -> list[Target]:
    """What a comparison of all stacks shows; studies have targets of their own."""
    found = []
    for peer, bound in (("bullmq", 1.0), ("taskiq", 3.0)):
        ratio, cheaper = _ratio(scenarios.SUBMIT, accepted, peer), _cheaper(scenarios.SUBMIT, peer)
        found.append(Target(f"accepted/s at 128 callers, against {peer}", bound, ratio, by_cost=cheaper))
    for latency, scenario in (("0 ms", scenarios.RESULT_0), ("100 ms", scenarios.RESULT_100)):
        for peer, bound, batched in (("bullmq", 0.9, 1.2), ("taskiq", 1.8, 2.5)):
            for what, ours, least in (
                ("jobs/s to result", PRODUCT, bound),
                ("jobs/s, micro-batches", BATCHING, batched),
            ):
                ratio, cheaper = _ratio(scenario, ended, peer, ours), _cheaper(scenario, peer, ours)
                found.append(Target(f"{what}, upstream {latency}, against {peer}", least, ratio, by_cost=cheaper))
    rate = scenarios.RATE_100
    return [
        *found,
        Target(
            "submit p99 at 128 callers, against BullMQ", 0.5, _ratio(scenarios.SUBMIT, submit_p99, "bullmq"), most=True
        ),
        Target(
            "100/s, time above upstream p50, against BullMQ",
            1.0,
            _ratio(rate, above_upstream("p50"), "bullmq"),
            most=True,
        ),
        Target(
            "100/s, time above upstream p99, against BullMQ",
            1.5,
            _ratio(rate, above_upstream("p99"), "bullmq"),
            most=True,
        ),
        Target(
            "100/s, CPU of the whole stack", 7.0, lambda f: stack_cpu(f.row(PRODUCT, rate)), most=True, unit="ms a job"
        ),
        Target("idle stack", 5.0, _idle, most=True, unit="% of a core"),
        Target("idle worker", 2.0, lambda figures: _idle(figures, "worker"), most=True, unit="% of a core"),
        Target("polls/s of finished jobs, against the constant answer", 0.5, _polls, by_cost=_polls_by_cost),
        Target("p99 of such a poll", 10.0, _poll_p99, most=True, unit="ms"),
        Target("jobs/s with 3,072 numbers, against tiny answers", 0.7, _vectors, by_cost=_vectors_by_cost),
        Target("largest Python process under load", MOST_MB_PER_PROCESS, _largest_python, most=True, unit="MB"),
    ]


def verdicts(rows: Sequence[Row], judged: Sequence[Target] | None = None) -> list[Verdict]:
    """Targets against a run, by default those of the comparison."""
    figures = Figures(rows)
    targeted = targets() if judged is None else judged
    return [Verdict(target, _tried(target.measure, figures), _tried(target.by_cost, figures)) for target in targeted]


def _tried(measure: Callable[[Figures], float] | None, figures: Figures) -> float | None:
    if measure is None:
        return None
    try:
        return measure(figures)
    except Missing:
        return None
