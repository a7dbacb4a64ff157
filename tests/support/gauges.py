"""What the reaper shows of the backlog."""

from __future__ import annotations

from shared.telemetry.metrics import JOBS, OLDEST_DUE_AGE, OLDEST_PENDING_AGE


def shown() -> list[float]:
    """The samples of the gauges that scaling and alerts go by."""
    return [
        sample.value
        for gauge in (JOBS, OLDEST_DUE_AGE, OLDEST_PENDING_AGE)
        for each in gauge.collect()
        for sample in each.samples
    ]
