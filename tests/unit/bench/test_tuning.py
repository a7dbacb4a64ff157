"""The tuning table of the operators' guide and the study that fills it are about the same settings."""

from __future__ import annotations

import re
from pathlib import Path

from bench.studies.tuning import TRIALS
from shared.settings.reading import load_settings
from shared.settings.table import FIELDS

GUIDE = Path(__file__).parents[3] / "docs" / "operations.md"
BY_ITS_SIZE = {"result_ttl_seconds"}
"""What it does was measured by what is stored."""


def test_every_row_of_the_table_can_be_measured_again() -> None:
    table = GUIDE.read_text().partition("## Tuning")[2].partition("\n## ")[0]
    rows = set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE))
    assert rows == {trial.setting for trial in TRIALS} | BY_ITS_SIZE


def test_a_trial_compares_the_default_with_something_else() -> None:
    for trial in TRIALS:
        default = FIELDS[trial.setting].default
        values = [getattr(load_settings({trial.setting: value}, environ={}), trial.setting) for value in trial.values]
        assert default in values, trial.setting
        assert len(set(values)) > 1
        load_settings(dict(trial.beside), environ={})
