"""What the chart knows of the code is what the code says, without Helm."""

from __future__ import annotations

from deploy.values_schema.__main__ import NAMES, OTHER_VALUES, SCHEMA, names, schema, text
from shared.settings.table import FIELDS


def test_the_chart_knows_every_setting_and_provider_of_the_code() -> None:
    assert SCHEMA.read_text() == text(schema()), "run `make docs`"
    assert NAMES.read_text() == text(names()), "run `make docs`"
    assert set(schema()["properties"]["settings"]["properties"]) == set(FIELDS)
    assert set(OTHER_VALUES) <= set(FIELDS)
