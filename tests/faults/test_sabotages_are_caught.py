"""Each guard that a sabotage takes away has a test that fails without it, named here; drills are in another file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping

import pytest

from tests.faults import test_drill_can_fail as drills
from tests.sabotage.__main__ import SABOTAGE

_STORE = "tests/contract/test_store_"
_HTTP = "tests/contract/http/"
CAUGHT_BY: Mapping[str, str] = {
    "without_fencing_of_renewals": _STORE + "claims.py::test_a_renewed_lease_is_not_taken_and_a_lost_one_is_named",
    "without_fencing_of_outcomes": _STORE + "records.py::test_a_lost_lease_records_nothing",
    "without_fencing_of_releases": _STORE + "records.py::test_a_finished_job_is_never_claimed_released_or_expired",
    "without_idempotency": _HTTP + "test_idempotency.py::test_the_same_key_and_request_give_the_same_job",
    "without_idempotency_fingerprint": (
        _HTTP + "test_idempotency.py::test_another_request_under_the_same_key_is_a_422"
    ),
    "without_expiry_filter": _HTTP + "test_api.py::test_an_expired_job_is_unknown_even_before_it_is_deleted",
    "without_key_check": (
        _HTTP + "test_keys.py::test_a_scoped_job_opens_with_its_own_key_in_any_header_and_with_nothing_else"
    ),
    "without_failure_budget": (
        "tests/unit/workers/execution/test_executor.py::test_a_failing_job_is_retried_until_its_budget_is_spent"
    ),
    "without_end_of_answers": (
        "tests/contract/providers/test_wire.py::test_an_answer_that_is_cut_off_is_a_failed_connection"
    ),
}


@pytest.mark.parametrize("sabotage", CAUGHT_BY)
def test_the_test_of_a_guard_fails_without_it(sabotage: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "--tb=line", "-p", "tests.sabotage.in_tests"]
    ran = subprocess.run(
        [*command, CAUGHT_BY[sabotage]],
        env={**os.environ, "SABOTAGE": sabotage},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 1, ran.stdout[-3000:]
    assert re.search(r"^\d+ failed", ran.stdout, re.MULTILINE), ran.stdout[-3000:]


def test_every_sabotage_is_caught_by_somebody() -> None:
    directed = {name for name in SABOTAGE if f'="{name}"' in drills.SOURCE}
    assert set(SABOTAGE) == directed | set(CAUGHT_BY)
