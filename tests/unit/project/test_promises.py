"""The pages that promise something name what holds it, and what they name exists."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from coatcheck.drill.scenarios.catalogue import SCENARIOS
from tests.support.ingress.abuse import CATALOGUE

ROOT = Path(__file__).parents[3]
PAGES = {name: (ROOT / name).read_text() for name in ("docs/guarantees.md", "docs/abuse.md", "SECURITY.md")}
ROWS = 64
LATER = {35, 55, 56, 59}
"""Rows of the abuse catalogue that wait for features: cancelling, webhooks, limits on polling."""


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_a_page_names_exists(page: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGES[page])
    assert named
    for file, test in named:
        source = (ROOT / file).read_text()
        assert not test or re.search(rf"^ *(?:async )?def {test}\(", source, re.MULTILINE), f"{file}::{test}"


def test_every_drill_that_a_page_names_exists() -> None:
    named = re.findall(r"`make drill ONLY=([\w-]+)`", PAGES["docs/guarantees.md"])
    assert named
    assert set(named) <= set(SCENARIOS)


def test_every_promise_names_what_holds_it() -> None:
    promises = PAGES["docs/guarantees.md"].partition("## ")[0]
    rows = [line.split(" | ") for line in promises.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 15
    assert all(len(row) == 3 and re.search(r"`(tests/|make drill)", row[2]) for row in rows)


def test_the_abuse_catalogue_is_on_its_page_row_by_row() -> None:
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in PAGES["docs/abuse.md"].splitlines()]
    rows = {int(cells[0]): (cells[2], cells[3]) for cells in lines if len(cells) == 4 and cells[0].isdigit()}
    assert sorted(rows) == list(range(1, ROWS + 1))
    statuses: dict[int, Counter[int]] = {number: Counter() for number in rows}
    for abuse in CATALOGUE:
        statuses[abuse.row][abuse.status] += 1
    for number, (answer, held) in rows.items():
        assert (number in LATER) == (held == "later")
        assert number in LATER or statuses[number] or "`tests/" in held, f"row {number} is held by nothing"
        for status in statuses[number]:
            assert str(status) in answer, f"row {number} is tried for {status}, and the page says {answer}"
