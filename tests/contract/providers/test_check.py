"""What `providers check` says about a provider, in words."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from shared.providers.config import configured
from shared.providers.local_models import LOCAL_MODELS, installed_models
from tests.support.servers.canned import canned, http
from tests.support.servers.upstream import running_upstream
from workers.providers.connectivity_check import CheckResult, check

KEY = "sk-the-right-key"


async def checked(name: str = "vllm", **table: Any) -> CheckResult:
    return await check(configured({name: table}, {})[name])


async def test_a_provider_that_answers_is_fine_and_its_models_are_known() -> None:
    async with running_upstream(api_key=KEY) as upstream:
        result = await checked(base_url=upstream.base_url, api_key=KEY, models=["scripted"])
    assert result.ok
    assert result.models == ("scripted",)
    assert result.message == "answers, 1 models"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({}, "wants a key: set VLLM_API_KEY (invalid API key)"),
        ({"api_key": "sk-another-key"}, "refuses the key: check VLLM_API_KEY (invalid API key)"),
        ({"api_key": KEY, "models": ["llama"]}, "does not list llama: check providers.vllm.models"),
    ],
)
async def test_keys_and_model_names_are_checked(table: dict[str, Any], said: str) -> None:
    async with running_upstream(api_key=KEY) as upstream:
        result = await checked(base_url=upstream.base_url, **table)
    assert not result.ok
    assert said in result.message
    assert KEY not in result.message


async def test_a_base_url_beside_the_api_is_noticed() -> None:
    async with running_upstream() as upstream:
        result = await checked(base_url=f"http://127.0.0.1:{upstream.port}/api")
    assert not result.ok
    assert "is base_url right? It mostly ends in /v1" in result.message


async def test_nobody_listening_names_the_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    result = await checked(base_url=f"http://127.0.0.1:{port}")
    assert not result.ok
    assert "Connection refused: is the server running?" in result.message
    assert "VLLM_BASE_URL" in result.message


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (http(b"[]"), "answers, but not with a list of models"),
        (http(b"<html>", media_type="text/html"), "answers, but not with a list of models"),
        (http(b"{}", status="429 Slow"), "answers, but allows no more calls for now"),
        (http(b"{}", status="402 Pay"), "the account has no money left"),
        (http(b'{"error":{"message":"boom"}}', status="500 Oops"), "answers with an error (boom)"),
    ],
)
async def test_every_other_answer_has_its_words(answer: bytes, said: str) -> None:
    async with canned(answer) as server:
        result = await checked(base_url=f"http://127.0.0.1:{server.port}")
    assert not result.ok
    assert said in result.message


async def test_local_models_are_checked_without_loading_them() -> None:
    everything = [model.id for model in LOCAL_MODELS]
    result = await checked("local", models=everything)
    assert result.ok == (len(installed_models()) == len(everything))
    assert (await checked("scripted")).ok
