"""What the studies are to show: that nothing gets dearer with what is stored, waits or has gone through."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.scenarios import EXPIRING, MANY, RESULT_0, STORM, SUBMIT, drain_of, memory_over, stored
from bench.targets import PRODUCT, Figures, Row, Target, Verdict, stack_cpu, verdicts

RATES = {STORM: "polls_per_s", RESULT_0: "jobs_per_s", SUBMIT: "accepted_per_s"}
NOT_OURS = ("mongod", "broker")


def study_verdicts(rows: Sequence[Row]) -> list[Verdict]:
    """Those of the studies that were run."""
    return [verdict for verdict in verdicts(rows, _targets()) if verdict.figure is not None]


def _targets() -> list[Target]:
    return [
        *(
            Target(
                f"{scenario}: {MANY:,} stored jobs against none", 0.9, _by_rate(scenario), by_cost=_by_cost(scenario)
            )
            for scenario in RATES
        ),
        Target("p99 of submits while those expire, against not", 1.5, _expiry, most=True),
        Target(f"drain of {MANY:,}: rate of the last tenth against the first", 0.9, _tenths, by_cost=_tenths_by_cost),
        Target(f"memory after {MANY:,} jobs against a tenth of them, Python processes", 1.1, _grown, most=True),
    ]


def _by_rate(scenario: str) -> Callable[[Figures], float]:
    def many_to_none(figures: Figures) -> float:
        many, none = _at_both(figures, scenario)
        return float(many[RATES[scenario]]) / float(none[RATES[scenario]])

    return many_to_none


def _by_cost(scenario: str) -> Callable[[Figures], float]:
    def none_to_many(figures: Figures) -> float:
        many, none = _at_both(figures, scenario)
        return stack_cpu(none) / stack_cpu(many)

    return none_to_many


def _at_both(figures: Figures, scenario: str) -> tuple[Row, Row]:
    return figures.row(PRODUCT, stored(MANY, scenario)), figures.row(PRODUCT, stored(0, scenario))


def _expiry(figures: Figures) -> float:
    expiring = figures.row(PRODUCT, stored(MANY, EXPIRING))
    return float(expiring["accept_ms"]["p99"]) / float(figures.row(PRODUCT, stored(MANY, SUBMIT))["accept_ms"]["p99"])


def _tenths(figures: Figures) -> float:
    row = figures.row(PRODUCT, drain_of(MANY))
    return float(row["last_tenth_per_s"]) / float(row["first_tenth_per_s"])


def _tenths_by_cost(figures: Figures) -> float:
    row = figures.row(PRODUCT, drain_of(MANY))
    return float(row["first_tenth_cpu_ms"]) / float(row["last_tenth_cpu_ms"])


def _grown(figures: Figures) -> float:
    at = figures.row(PRODUCT, memory_over(MANY))["largest_mb_at"]
    return max(float(at["100%"][part]) / float(size) for part, size in at["10%"].items() if part not in NOT_OURS)
