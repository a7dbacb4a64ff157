"""Every scenario that a drill can run, by name."""

from __future__ import annotations

from collections.abc import Mapping

import coatcheck.drill.subtle_faults  # noqa: F401 - enters its kinds of faults
from coatcheck.drill import scenarios
from coatcheck.drill.scenarios import Scenario
from coatcheck.drill.special import SPECIAL_ROWS

SCENARIOS: Mapping[str, Scenario] = {**scenarios.SCENARIOS, **{row.name: row for row in SPECIAL_ROWS}}
