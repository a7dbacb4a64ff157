"""Names of keys, and which of their patterns can match anything."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.virtual_keys import may_match, name_problem

PROVIDERS = ("openai", "local")


@pytest.mark.parametrize(
    "pattern", ["openai/*", "*", "open*", "*/gpt-4o", "local/minilm", "o*o", "[ol]*/x", "openai/?"]
)
def test_a_pattern_that_some_model_of_a_provider_matches_is_taken(pattern: str) -> None:
    assert may_match(pattern, PROVIDERS)


@pytest.mark.parametrize("pattern", ["", "opnai/*", "gpt-4o", "openai", "openai/", "/x", "groq/*", "OpenAI/*"])
def test_a_pattern_that_no_model_can_match_is_known(pattern: str) -> None:
    assert not may_match(pattern, PROVIDERS)


@given(st.text("openai/*?x[", max_size=8), st.text("aix/*", min_size=1, max_size=4))
def test_what_matches_a_model_is_never_taken_for_lost(pattern: str, model: str) -> None:
    if fnmatchcase(f"openai/{model}", pattern):
        assert may_match(pattern, ["openai"])


@pytest.mark.parametrize("name", ["", " ", " ci", "ci\n", "x" * 101, "0123456789abcdef" * 2])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    assert name_problem(name)


@pytest.mark.parametrize("name", ["ci", "team a / staging", "$hash", "日本"])
def test_any_other_name_is_taken(name: str) -> None:
    assert name_problem(name) is None
