"""Which provider and model a string means, and which fallbacks survive."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.target import Target
from shared.providers.config import ProviderConfig, configured
from shared.providers.model_names import MAX_FALLBACKS, MAX_PARAMS_BYTES, ModelError, parse_fallbacks, split_model

PROVIDERS = configured(
    {
        "vllm": {"base_url": "http://gpu:8000", "models": ["llama", "meta-llama/X", "shared"]},
        "mine": {"base_url": "http://mine", "models": ["shared"]},
    },
    {"OPENAI_API_KEY": "sk-secret-secret"},
    ["minilm"],
)


def message_of(model: str, providers: dict[str, ProviderConfig] = PROVIDERS) -> str:
    found = split_model(model, providers)
    assert isinstance(found, ModelError)
    return found.message


@pytest.mark.parametrize(
    ("model", "target"),
    [
        ("openai/gpt-4o", Target("openai", "gpt-4o")),
        ("openai/meta/llama/x", Target("openai", "meta/llama/x")),
        ("local/minilm", Target("local", "minilm")),
        ("minilm", Target("local", "minilm")),
        ("llama", Target("vllm", "llama")),
        ("meta-llama/X", Target("vllm", "meta-llama/X")),
    ],
)
def test_a_model_is_split_at_the_first_slash_or_found_in_one_list(model: str, target: Target) -> None:
    assert split_model(model, PROVIDERS) == target


def test_a_misspelt_provider_is_guessed() -> None:
    assert message_of("opnai/x", {name: PROVIDERS[name] for name in ("local", "openai")}) == (
        "unknown provider 'opnai' in model 'opnai/x': did you mean 'openai'? configured: local, openai"
    )


def test_a_well_known_provider_without_a_key_names_the_variable() -> None:
    assert "is not configured: set GROQ_API_KEY" in message_of("groq/x")
    assert "is not configured: set OLLAMA_BASE_URL" in message_of("ollama/x")


def test_a_model_that_two_providers_list_needs_its_prefix() -> None:
    assert "is listed by vllm, mine: write 'vllm/shared'" in message_of("shared")


def test_a_model_without_provider_shows_the_form() -> None:
    assert "write provider/model, such as 'local/gpt'; configured: local, mine, openai, vllm" in message_of("gpt")
    assert "none (set OPENAI_API_KEY, for example)" in message_of("gpt", {})


@pytest.mark.parametrize("model", ["", "/", "/x", "openai/", "nobody/x", "Openai/x"])
def test_what_names_no_target_is_an_error_in_words(model: str) -> None:
    assert message_of(model)


def test_a_default_provider_takes_bare_names_only() -> None:
    assert split_model("gpt", PROVIDERS, "openai") == Target("openai", "gpt")
    assert split_model("llama", PROVIDERS, "openai") == Target("vllm", "llama")
    for model in ("opnai/x", "shared", ""):
        assert isinstance(split_model(model, PROVIDERS, "openai"), ModelError)


@given(st.text())
def test_every_string_is_a_target_or_a_short_error(model: str) -> None:
    found = split_model(model, PROVIDERS)
    if isinstance(found, Target):
        assert found.model
        assert model in (f"{found.provider}/{found.model}", found.model)
    else:
        assert 0 < len(found.message) < 700


def test_usable_fallbacks_keep_their_order_and_doubles() -> None:
    given = [
        "openai/a",
        {"provider": "vllm", "model": "b", "params": {"temperature": 0.5}},
        "nobody/c",
        "openai/",
        "",
        None,
        7,
        {"provider": "vllm"},
        {"provider": "nobody", "model": "d"},
        {"provider": "vllm", "model": "e", "params": [1]},
        {"provider": "vllm", "model": "f", "params": None},
        "openai/a",
    ]
    assert parse_fallbacks(given, PROVIDERS) == (
        Target("openai", "a"),
        Target("vllm", "b", b'{"temperature":0.5}'),
        Target("vllm", "f"),
        Target("openai", "a"),
    )


def test_a_form_sends_objects_as_one_json_text() -> None:
    parts = ["openai/a", '[{"provider":"vllm","model":"b"},"openai/c","nobody/d"]', "[not json"]
    assert [target.model for target in parse_fallbacks(parts, PROVIDERS)] == ["a", "b", "c"]


@pytest.mark.parametrize("nothing", [None, [], "", 3, {}, [[]], [{}]])
def test_nothing_usable_is_no_fallbacks(nothing: object) -> None:
    assert parse_fallbacks(nothing, PROVIDERS) == ()


def test_fallbacks_are_bounded_in_number_and_size() -> None:
    assert len(parse_fallbacks(["openai/a"] * 100_000, PROVIDERS)) == MAX_FALLBACKS
    large = {"provider": "openai", "model": "a", "params": {"x": "y" * MAX_PARAMS_BYTES}}
    assert parse_fallbacks([large, "openai/b"], PROVIDERS) == (Target("openai", "b"),)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_any_json_gives_targets_of_configured_providers(value: object) -> None:
    for target in parse_fallbacks(value, PROVIDERS):
        assert target.provider in PROVIDERS
        assert target.model
        assert not target.params or isinstance(msgspec.json.decode(target.params), dict)
