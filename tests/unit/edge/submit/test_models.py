"""What a body says about its model and its fallbacks."""

from __future__ import annotations

import json

import pytest

from edge.submit.validation import parser
from shared.domain.catalogue import BY_TYPE
from shared.domain.errors import BadRequest
from shared.domain.target import Target
from shared.providers.config import configured
from tests.unit.edge.submit.parsing import MIB, PROVIDERS, parse_json


@pytest.mark.parametrize("model", [b"null", b'""', b"1", b'["openai/m"]', b'"a\\u0000b"', b'"' + b"m" * 300 + b'"'])
def test_a_model_that_is_no_name_is_refused(model: bytes) -> None:
    with pytest.raises(BadRequest, match="'model'"):
        parse_json("embedding", b'{"input":"x","model":' + model + b"}")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("opnai/x", "unknown provider 'opnai'"),
        ("no-prefix", "has no provider"),
        ("openai/", "names no model"),
        ("groq/x", "not configured"),
    ],
)
def test_a_model_of_no_configured_provider_is_refused_with_the_fix(model: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        parse_json("embedding", f'{{"input":"x","model":"{model}"}}'.encode())


def test_a_model_that_one_provider_lists_needs_no_prefix() -> None:
    assert parse_json("embedding", b'{"input":"x","model":"gpt-4o-mini"}').targets == (Target("openai", "gpt-4o-mini"),)


def test_fallbacks_are_read_in_order_and_useless_ones_dropped() -> None:
    body = (
        b'{"input":"x","model":"openai/a","fallbacks":["openai/b","nobody/c","",{"provider":"openai","model":"d",'
        b'"params":{"n":1}},{"provider":"openai"},{"model":"x"},"openai/b"]}'
    )
    names = [target.model for target in parse_json("embedding", body).targets]
    assert names == ["a", "b", "d", "b"]


def test_a_bare_string_is_no_list_of_fallbacks() -> None:
    with pytest.raises(BadRequest, match="'fallbacks'"):
        parse_json("embedding", b'{"input":"x","model":"openai/a","fallbacks":"openai/b"}')


@pytest.mark.parametrize(
    ("request_type", "body"),
    [
        ("embedding", {"model": "local/nope", "input": "a"}),
        ("chat_completion", {"model": "local/minilm", "messages": [{"role": "user", "content": "a"}]}),
        ("image_generation", {"model": "local/minilm", "prompt": "a"}),
    ],
)
def test_a_local_model_that_does_not_exist_for_the_endpoint_is_refused_at_the_submit(
    request_type: str, body: dict[str, object]
) -> None:
    with pytest.raises(BadRequest, match="no local model for") as caught:
        parse_json(request_type, json.dumps(body).encode())
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("tables", "local_models", "setting"),
    [
        ({}, ["minilm", "rapidocr"], "COATCHECK_LOCAL_MODELS"),
        ({"local": {"models": ["minilm", "rapidocr"]}}, [], "providers.local.models"),
    ],
)
def test_a_local_model_that_is_not_listed_is_refused_at_the_submit_with_the_setting(
    tables: dict[str, dict[str, object]], local_models: list[str], setting: str
) -> None:
    parse = parser(BY_TYPE["rerank"], configured(tables, {}, local_models), "", MIB)
    body = b'{"model":"local/minilm-biencoder","query":"a","documents":["b"]}'
    with pytest.raises(BadRequest) as caught:
        parse(body, "", False)
    assert caught.value.code == "model_not_found"
    assert f"not served here: {setting} lists minilm, rapidocr" in str(caught.value)


@pytest.mark.parametrize("listed", [["all"], ["minilm", "minilm-biencoder"]])
def test_a_local_model_that_is_listed_or_may_be_installed_elsewhere_is_accepted(listed: list[str]) -> None:
    parse = parser(BY_TYPE["rerank"], configured({}, {}, listed), "", MIB)
    assert parse(b'{"model":"local/minilm-biencoder","query":"a","documents":["b"]}', "", False).targets


def test_a_local_fallback_that_is_not_listed_is_dropped() -> None:
    providers = {**PROVIDERS, **configured({}, {}, ["minilm"])}
    body = b'{"model":"openai/m","query":"a","documents":["b"],"fallbacks":["local/minilm-biencoder"]}'
    assert [each.model for each in parser(BY_TYPE["rerank"], providers, "", MIB)(body, "", False).targets] == ["m"]


def test_a_local_fallback_that_cannot_answer_is_dropped() -> None:
    body = {"model": "openai/m", "input": "a", "fallbacks": ["local/nope", "local/rapidocr", "local/minilm"]}
    targets = parse_json("embedding", json.dumps(body).encode()).targets
    assert [target.model for target in targets] == ["m", "minilm"]
