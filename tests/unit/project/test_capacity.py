"""What a worker may hold by its default settings fits the memory that the chart gives it."""

from __future__ import annotations

from pathlib import Path

import yaml

from shared.settings.table import MIB, Settings

VALUES = Path(__file__).parents[3] / "deploy" / "k8s" / "coatcheck" / "values.yaml"
IDLE = 100 * MIB
READ_AHEAD = MIB // 4
"""Of one answer that waits at its provider: what had come before it was told to wait."""
COPIES = 4
"""Of one answer: it is joined, checked, made a result of and sent to the database."""


def test_the_charts_limit_fits_what_a_worker_holds_by_default() -> None:
    settings, chart = Settings(), yaml.safe_load(VALUES.read_text())["worker"]
    held = settings.max_held_body_bytes + settings.unrecorded_bytes + COPIES * settings.max_result_bytes
    limit = chart["resources"]["limits"]["memory"]
    assert limit.endswith("Gi")
    assert IDLE + held + chart["slots"] * READ_AHEAD <= int(limit.removesuffix("Gi")) * 1024 * MIB
