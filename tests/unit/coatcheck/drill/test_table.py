"""The table of measured rows comes from reports and nowhere else, and has a figure for every scenario."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from coatcheck.drill.scenarios.catalogue import SCENARIOS
from coatcheck.drill.table import merged, row, vitals_table


def report(scenario: str = "calm", **more: Any) -> dict[str, Any]:
    return {
        "scenario": scenario,
        "jobs": 300,
        "lost": 0,
        "stuck": 0,
        "changed": 0,
        "doubled": 0,
        "repeated_calls": 4,
        "failed": 0,
        "violations": [],
        "bounds": ["failed <= 0", "submit_max <= 4", "kept <= 6000", "claim_p50 >= 1"],
        "figures": {
            "result_p50": 0.31,
            "result_p95": 2.0,
            "result_max": 17.04,
            "refusals": 158,
            "submit_max": 3.456,
            "kept": 3658,
        },
        "seed": 7,
        **more,
    }


def test_a_row_shows_what_was_counted_and_each_bound_with_its_figure() -> None:
    assert row(report()) == (
        "| `calm` | 300 | 0, 0, 0, 0 | 4 | 0 | 0.3 | 2.0 | 17.0 | 158 |  "
        "| submit_max 3.46; kept 3658; **claim_p50 not measured, not >= 1** | 7 |"
    )


def test_what_processes_held_is_a_table_too() -> None:
    held = {name: [1.5, 2.0, 3.0, 4.0] for name in ("rss_mb", "descriptors", "threads", "connections")}
    lines = vitals_table({"edge0.1": {**held, "cpu_share": 0.1234}}).splitlines()
    assert lines[2] == f"| `edge0.1` |{' 1.5, 2, 3, 4 |' * 4} 12.3 % |"


def test_a_violation_that_no_count_shows_is_not_hidden() -> None:
    assert "but see the bounds" in row(report(violations=["bound submit_max <= 4: it was 5"]))


def test_a_new_report_replaces_its_row_and_no_other() -> None:
    old = merged("", [report("calm"), report("edge-kill", seed=1)])
    new = merged(old, [report("edge-kill", seed=2)])
    assert [re.sub(r"\| 1 \|$", "| 2 |", line) for line in old.splitlines()] == new.splitlines()


def test_every_scenario_has_a_measured_row_on_the_page() -> None:
    page = Path(__file__).parents[4] / "docs" / "reliability.md"
    measured = set(re.findall(r"^\| `([\w-]+)`", page.read_text(), re.MULTILINE))
    assert set(SCENARIOS) - measured == set()
