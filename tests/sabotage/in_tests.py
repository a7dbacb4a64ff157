"""A pytest plugin, `SABOTAGE=WHAT pytest -p tests.sabotage.in_tests ...`: tests of a product without one protection."""

from __future__ import annotations

import os

from shared.telemetry import metrics_files
from tests.sabotage.__main__ import SABOTAGE

SABOTAGE[os.environ["SABOTAGE"]]()
metrics_files.one_process()  # some sabotages wait for it
