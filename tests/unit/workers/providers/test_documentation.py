"""docs/providers.md says what the code does."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from shared.providers.config import DERIVED, ProviderConfig
from shared.providers.known import KNOWN_PROVIDERS
from workers import error_classification
from workers.providers.scripted.provider import MODES, Script

PAGE = (Path(__file__).parents[4] / "docs" / "providers.md").read_text()


@pytest.mark.parametrize("name", sorted(KNOWN_PROVIDERS))
def test_every_known_provider_is_listed_with_key_and_address(name: str) -> None:
    known = KNOWN_PROVIDERS[name]
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |")]
    assert all(f"`{variable}`" in row for variable in known.key_variables)
    assert f"`{known.base_url or known.address_variable}`" in row


def test_every_setting_of_a_provider_is_shown() -> None:
    for field in set(ProviderConfig.__struct_fields__) - {*DERIVED, "kind", "api_key"}:
        assert f"{field} = " in PAGE or f"{field}`" in PAGE, field


def test_every_word_of_a_script_is_explained() -> None:
    for word in [*(field.name for field in msgspec.structs.fields(Script)), *MODES]:
        assert f"`{word}`" in PAGE, word


@pytest.mark.parametrize("status", range(400, 600))
def test_the_table_of_failures_is_what_happens(status: int) -> None:
    error = error_classification.from_answer(status, b"", {})
    rows = [line.split("|")[1:-1] for line in PAGE.splitlines() if line.startswith("|") and line.count("|") == 5]
    exact = [row for row in rows if str(status) in row[0].replace(",", " ").split()]
    others = "any other 4xx" if status < 500 else "any other 5xx"
    (row,) = exact or [row for row in rows if others in row[0]]
    assert f"`{error.error_type}`" in row[2]
    assert error.retryable == (row[3].strip() == "yes")
