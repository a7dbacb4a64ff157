"""Percentiles under the names that reports use."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def spread(name: str, values: Sequence[float]) -> dict[str, float]:
    """p50, p95, p99 and maximum under `name`; nothing of nothing."""
    if not values:
        return {}
    cuts = statistics.quantiles(values, n=100, method="inclusive") if len(values) > 1 else [values[0]] * 99
    cut = {f"{name}_p50": cuts[49], f"{name}_p95": cuts[94], f"{name}_p99": cuts[98], f"{name}_max": max(values)}
    return {figure: round(value, 3) for figure, value in cut.items()}
