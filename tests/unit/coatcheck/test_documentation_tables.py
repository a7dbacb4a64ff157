"""The generated parts of the documentation."""

from __future__ import annotations

from pathlib import Path

import pytest

from coatcheck import documentation_tables
from shared.domain.errors import CoatcheckError
from shared.settings.table import FIELDS, PREFIX

ROOT = Path(__file__).parents[3]


def test_the_table_of_settings_in_the_documentation_is_the_one_that_the_code_gives() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert documentation_tables.with_table(page, documentation_tables.settings_table()) == page, (
        "run `coatcheck config docs --into`"
    )


def test_the_table_has_a_row_for_every_setting() -> None:
    table = documentation_tables.settings_table()
    assert len(table.splitlines()) == len(FIELDS) + 2
    for name in FIELDS:
        assert f"`{PREFIX}{name.upper()}`" in table


def test_only_the_generated_part_of_a_page_is_replaced() -> None:
    page = f"before\n{documentation_tables.BEGIN}\nold\n{documentation_tables.END}\nafter\n"
    assert (
        documentation_tables.with_table(page, "new")
        == f"before\n{documentation_tables.BEGIN}\nnew\n{documentation_tables.END}\nafter\n"
    )


@pytest.mark.parametrize(
    "page",
    [
        "",
        documentation_tables.BEGIN,
        documentation_tables.END,
        f"{documentation_tables.END} {documentation_tables.BEGIN}",
    ],
)
def test_a_page_without_a_generated_part_is_left_alone(page: str) -> None:
    with pytest.raises(CoatcheckError, match="has no part between"):
        documentation_tables.with_table(page, "new")
