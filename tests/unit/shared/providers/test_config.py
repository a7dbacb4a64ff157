"""What enables a provider, where its key comes from, and how mistakes are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared.domain.errors import SettingsError
from shared.providers.config import ProviderConfig, configured
from shared.providers.known import KNOWN_PROVIDERS
from shared.providers.local_models import LOCAL_MODELS, installed_models

SECRET = "sk-very-secret-value"


def only(tables: dict[str, Any] | None = None, **environ: str) -> ProviderConfig:
    (found,) = configured(tables or {}, environ).values()
    return found


def problem_of(tables: dict[str, Any], **environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        configured(tables, environ)
    return str(caught.value)


@pytest.mark.parametrize("name", sorted(KNOWN_PROVIDERS))
def test_a_key_or_an_address_alone_enables_a_well_known_provider(name: str) -> None:
    known = KNOWN_PROVIDERS[name]
    if known.base_url:
        config = only({}, **{known.key_variables[0]: SECRET})
        assert (config.base_url, config.api_key) == (known.base_url, SECRET)
    config = only({}, **{known.address_variable: "http://10.0.0.1:8000/v1"})
    assert (config.name, config.base_url) == (name, "http://10.0.0.1:8000/v1")


def test_a_key_alone_does_not_enable_a_server_without_an_address() -> None:
    assert configured({}, {"VLLM_API_KEY": SECRET}) == {}


def test_nothing_is_enabled_by_nothing_or_by_empty_variables() -> None:
    assert configured({}, {}) == {}
    assert configured({}, {"OPENAI_API_KEY": "", "OLLAMA_BASE_URL": " "}) == {}


def test_scripted_is_never_on_by_default() -> None:
    assert "scripted" not in configured({}, {"SCRIPTED_API_KEY": "x", "SCRIPTED_BASE_URL": "http://x"})
    assert only({"scripted": {}}).kind == "scripted"


@pytest.mark.parametrize(
    ("address", "base_url"),
    [
        ("http://gpu:8000", "http://gpu:8000/v1"),
        ("http://gpu:8000/", "http://gpu:8000"),
        ("http://gpu:8000/v1/", "http://gpu:8000/v1"),
        ("https://[::1]:8000/openai/v1", "https://[::1]:8000/openai/v1"),
    ],
)
def test_an_address_without_a_path_means_its_v1(address: str, base_url: str) -> None:
    assert only({}, VLLM_BASE_URL=address).base_url == base_url


def test_the_address_in_the_environment_wins_over_the_table() -> None:
    config = only({"vllm": {"base_url": "http://a/v1"}}, VLLM_BASE_URL="http://b/v1")
    assert config.base_url == "http://b/v1"


def test_paths_of_a_well_known_provider_hold_for_its_own_address_only() -> None:
    assert only({}, COHERE_API_KEY=SECRET).paths == {"rerank": "https://api.cohere.com/v2/rerank"}
    assert only({}, COHERE_API_KEY=SECRET, COHERE_BASE_URL="http://proxy/v1").paths == {}


def test_a_key_comes_from_table_file_or_variable(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{SECRET}\n")
    address = {"base_url": "http://a/v1"}
    assert only({"x": {**address, "api_key": SECRET}}).api_key == SECRET
    assert only({"x": {**address, "api_key_file": str(path)}}).api_key == SECRET
    assert only({"x": {**address, "api_key_env": "MY_KEY"}}, MY_KEY=SECRET).api_key == SECRET
    assert only({"x": {**address, "api_key_env": "MY_KEY"}}, MY_KEY_FILE=str(path)).api_key == SECRET
    assert only({"my-x": address}, MY_X_API_KEY=SECRET).api_key == SECRET
    assert only({}, OPENAI_API_KEY_FILE=str(path)).api_key == SECRET


def test_local_models_enable_local_and_all_means_the_installed_ones() -> None:
    assert configured({}, {}, ["minilm"])["local"].models == ("minilm",)
    installed = tuple(model.id for model in installed_models())
    assert configured({}, {}, ["all"])["local"].models == installed
    assert configured({"local": {}}, {})["local"].models == installed
    assert configured({"local": {"models": ["minilm"]}}, {})["local"].models == ("minilm",)


@pytest.mark.parametrize(
    ("tables", "local_models", "setting"),
    [
        ({}, ["minilm"], "COATCHECK_LOCAL_MODELS"),
        ({"local": {"models": ["minilm"]}}, [], "providers.local.models"),
        ({}, ["all"], ""),
        ({"local": {}}, [], ""),
    ],
)
def test_a_list_of_local_models_is_told_from_all_that_may_be_installed(
    tables: dict[str, dict[str, object]], local_models: list[str], setting: str
) -> None:
    assert configured(tables, {}, local_models)["local"].listed_by == setting


def test_no_table_says_where_its_models_come_from() -> None:
    with pytest.raises(SettingsError, match=r"providers\.local\.listed_by: unknown field"):
        configured({"local": {"listed_by": "x"}}, {})


def test_an_unknown_local_model_is_guessed() -> None:
    with pytest.raises(SettingsError, match=r"local model 'minlm' is unknown: did you mean 'minilm'\?") as caught:
        configured({}, {}, ["minlm"])
    assert all(model.id in str(caught.value) for model in LOCAL_MODELS)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"base_ur": "http://a"}, "providers.x.base_ur: unknown field: did you mean 'base_url'?"),
        ({"base_url": "http://a", "max_concurrency": "9"}, "providers.x.max_concurrency: Expected `int`"),
        ({"base_url": "http://a", "max_concurrency": 0}, "providers.x.max_concurrency: Expected `int` >= 1"),
        ({"base_url": "http://a", "timeout_seconds": 0}, "providers.x.timeout_seconds: Expected `float` > 0"),
        ({"base_url": "http://a", "kind": "opnai"}, "providers.x.kind: Invalid enum value"),
        ({}, "providers.x.base_url: missing; set it, or X_BASE_URL"),
        ({"base_url": "a:80"}, "providers.x.base_url: expected a URL like"),
        ({"base_url": "ftp://a"}, "providers.x.base_url: expected a URL like"),
        ({"base_url": "http://a:99999"}, "providers.x.base_url: expected a URL like"),
        ({"base_url": "http://a b"}, "providers.x.base_url: expected a URL like"),
        ({"base_url": "http://a/v1?x=1"}, "providers.x.base_url: expected a URL without '?'"),
        ({"base_url": f"http://me:{SECRET}@a/v1"}, "providers.x.base_url: no user or password"),
        ({"base_url": "http://a", "proxy": "socks5://a:1"}, "providers.x.proxy: expected a URL like"),
        ({"base_url": "http://a", "ca_file": "/no/such.pem"}, "providers.x.ca_file: no such file"),
        ({"base_url": "http://a", "api_key_file": "/no/such"}, "providers.x.api_key_file: cannot read"),
        ({"base_url": "http://a", "api_key_env": "NOPE"}, "providers.x.api_key_env: the variable NOPE is not set"),
        ({"base_url": "http://a", "api_key": f"{SECRET}\r\nx: y"}, "providers.x.api_key: holds a character"),
        (
            {"base_url": "http://a", "paths": {"rerankk": "/x"}},
            "providers.x.paths.rerankk: no such request type: did you",
        ),
        ({"base_url": "http://a", "paths": {"rerank": "x"}}, "providers.x.paths.rerank: expected a URL like"),
        ({"base_url": "http://a", "headers": {"a b": "c"}}, "providers.x.headers: 'a b' is no header name"),
        ({"base_url": "http://a", "headers": {"a": f"{SECRET}\n"}}, "providers.x.headers.a: holds a character"),
    ],
)
def test_a_mistake_names_table_field_and_fix_but_never_a_secret(table: dict[str, Any], said: str) -> None:
    problem = problem_of({"x": table})
    assert said in problem
    assert SECRET not in problem


@pytest.mark.parametrize("name", ["", "A", "a/b", "a b", "-a", "a" * 65])
def test_a_provider_name_fits_into_a_model_string_and_a_variable(name: str) -> None:
    assert "a provider's name has" in problem_of({name: {"base_url": "http://a"}})


def test_a_repr_holds_no_secret() -> None:
    table = {
        "base_url": "http://a/v1",
        "api_key": SECRET,
        "headers": {"x-key": SECRET},
        "proxy": f"http://me:{SECRET}@proxy:1",
    }
    config = only({"x": table})
    assert SECRET not in repr(config)
    assert SECRET not in f"{config} {[config]}"
    assert config.api_key == msgspec.to_builtins(config)["api_key"] == SECRET
