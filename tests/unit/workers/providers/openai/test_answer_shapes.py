"""Results and errors as clients read them, and what never becomes a result."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.catalogue import CATALOGUE
from shared.domain.target import Target
from workers.provider_interface import Answer, ProviderError
from workers.providers.openai import answer_checks, rerank_answers
from workers.result_shapes import shape_error, shape_result

TYPES = [endpoint.request_type for endpoint in CATALOGUE]


def shaped_bytes(request_type: str, body: bytes, media_type: str = "application/json") -> bytes:
    return shape_result(
        request_type,
        Answer(body, media_type),
        Target("openai", "used"),
        model_requested="asked",
        latency_ms=5,
    )


def shaped(request_type: str, body: object, media_type: str = "application/json") -> dict[str, Any]:
    encoded = body if isinstance(body, bytes) else msgspec.json.encode(body)
    decoded: dict[str, Any] = msgspec.json.decode(shaped_bytes(request_type, encoded, media_type))
    return {name: value for name, value in decoded.items() if name != "extra_fields"}


def test_what_is_not_touched_stays_the_providers_bytes() -> None:
    data = b'[{"object":"embedding","index":0,"embedding":[1.10,-0e0,123456789012345678901234567890]}]'
    assert b'"data":' + data in shaped_bytes("embedding", b'{"data":' + data + b',"model":"x"}')


def test_an_answer_is_taken_apart_once() -> None:
    body = b'{"data":[],"model":"x"}'
    fields = answer_checks.require_answer("embedding", "application/json", body)
    taken = Answer(b"not looked at again", "application/json", fields=fields)
    result = shape_result("embedding", taken, Target("p", "m"), model_requested="m", latency_ms=1)
    assert msgspec.json.decode(result)["data"] == []
    assert fields is not None and sorted(fields) == ["data", "model"]


def test_extra_fields_are_ours_even_if_the_provider_sends_some() -> None:
    result = msgspec.json.decode(shaped_bytes("embedding", b'{"data":[],"extra_fields":{"provider":"liar"}}'))
    assert result["extra_fields"]["provider"] == "openai"
    assert shaped_bytes("embedding", b'{"data":[],"extra_fields":1}').count(b"extra_fields") == 1


def test_a_missing_model_is_the_one_that_was_used() -> None:
    assert shaped("image_generation", {"data": []})["model"] == "used"
    assert shaped("embedding", {"data": [], "model": "theirs"})["model"] == "theirs"
    assert "model" not in shaped("transcription", {"text": "t"})


def test_log_probs_are_there_under_both_names() -> None:
    choices = [{"index": 0, "logprobs": {"content": []}}, {"index": 1, "logprobs": None}]
    first, second = shaped("chat_completion", {"choices": choices})["choices"]
    assert first["logprobs"] == first["log_probs"] == {"content": []}
    assert "log_probs" not in second


def test_speech_is_base64_whatever_the_bytes() -> None:
    sound = bytes(range(256))
    result = shaped("speech", sound, "audio/mpeg")
    assert base64.b64decode(result["audio"]) == sound
    assert shaped("speech", {"audio_base64": "QQ=="}) == {"audio_base64": "QQ=="}


@pytest.mark.parametrize("media_type", ["text/plain", "text/vtt; charset=utf-8", "application/x-subrip", ""])
def test_a_plain_transcript_is_its_exact_text(media_type: str) -> None:
    assert shaped("transcription", "WEBVTT\n\n… é\n".encode(), media_type) == {"text": "WEBVTT\n\n… é\n"}


def test_a_transcript_may_be_one_json_string() -> None:
    assert shaped("transcription", "hello") == {"text": "hello"}


@pytest.mark.parametrize("request_type", ["image_generation", "image_edit", "image_variation"])
def test_images_are_numbered_and_their_properties_stand_flat(request_type: str) -> None:
    result = shaped(
        request_type,
        {
            "data": [{"url": "a"}, {"b64_json": "b", "index": 7}],
            "params": {"size": "1x1", "secret": 1},
            "quality": "hd",
        },
    )
    assert [image["index"] for image in result["data"]] == [0, 7]
    assert (result["size"], result["quality"]) == ("1x1", "hd")
    assert "params" not in result
    assert "secret" not in result


@pytest.mark.parametrize(
    ("request_type", "body", "media_type"),
    [
        ("embedding", b'{"data":[', "application/json"),
        ("embedding", b"[]", "application/json"),
        ("embedding", b'{"data":"\xff"}', "application/json"),
        ("embedding", b'{"data":NaN}', "application/json"),
        ("embedding", b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "application/json"),
        ("image_edit", b'{"data":7}', "application/json"),
        ("image_edit", b"{}", "application/json"),
        ("chat_completion", b'{"choices":7,"logprobs":1}', "application/json"),
        ("transcription", b"\xff", "text/plain"),
        ("transcription", b"7", "application/json"),
    ],
)
def test_what_is_not_as_its_media_type_says_is_an_error(request_type: str, body: bytes, media_type: str) -> None:
    with pytest.raises(ProviderError) as caught:
        shaped_bytes(request_type, body, media_type)
    assert (caught.value.status_code, caught.value.retryable) == (502, True)


@given(st.sampled_from(TYPES), st.binary(max_size=200), st.sampled_from(["application/json", "text/plain", "x"]))
def test_any_bytes_are_a_result_in_json_or_a_provider_error(request_type: str, body: bytes, media_type: str) -> None:
    try:
        answer_checks.require_answer(request_type, media_type, body)
        result = shaped_bytes(request_type, body, media_type)
    except ProviderError:
        return
    assert isinstance(msgspec.json.decode(result), dict)
    result.decode()


def test_a_failed_job_reads_as_the_contract_says() -> None:
    error = ProviderError(
        "upstream quota used up",
        status_code=429,
        error_type="provider_rate_limited",
        type="rate_limit",
        code="too_many",
        retryable=True,
    )
    body = shape_error("embedding", error, Target("openai", "small"), model_requested="small")
    assert msgspec.json.decode(body) == {
        "is_bifrost_error": False,
        "status_code": 429,
        "error": {"type": "rate_limit", "code": "too_many", "message": "upstream quota used up"},
        "extra_fields": {
            "provider": "openai",
            "model_requested": "small",
            "original_model_requested": "small",
            "resolved_model_used": "small",
            "request_type": "embedding",
            "error_type": "provider_rate_limited",
        },
    }


@pytest.mark.parametrize(
    ("request_type", "media_type", "body"),
    [
        ("embedding", "application/json", b""),
        ("embedding", "application/json", b" \n"),
        ("embedding", "application/json", b"null"),
        ("embedding", "application/json", b"{}"),
        ("embedding", "application/json", b'{"error":{"message":"m"}}'),
        ("embedding", "application/json", b'{"data":[],"error":"m"}'),
        ("embedding", "text/html", b'{"data":[]}'),
        ("chat_completion", "application/json", b'{"data":[]}'),
        ("speech", "audio/mpeg", b""),
        ("speech", "application/json", b'{"detail":"m"}'),
        ("speech", "text/html", b"<html>"),
        ("transcription", "application/json", b'{"words":[]}'),
        ("responses", "application/json", b'{"error":{"message":"m"}}'),
    ],
)
def test_a_200_without_an_answer_in_it_is_an_error(request_type: str, media_type: str, body: bytes) -> None:
    with pytest.raises(ProviderError):
        answer_checks.require_answer(request_type, media_type, body)


@pytest.mark.parametrize(
    ("request_type", "body"),
    [
        ("responses", b'{"output":[],"error":null}'),
        ("responses", b'{"output":[],"status":"failed","error":{"code":"server_error","message":"m"}}'),
        ("embedding", b'{"data":[],"error":null}'),
    ],
)
def test_an_answer_may_speak_of_errors(request_type: str, body: bytes) -> None:
    answer_checks.require_answer(request_type, "application/json; charset=utf-8", body)


def test_an_error_in_a_200_keeps_its_own_status() -> None:
    with pytest.raises(ProviderError) as caught:
        answer_checks.require_answer("embedding", "application/json", b'{"error":{"message":"slow down","code":429}}')
    assert (caught.value.status_code, caught.value.retryable) == (429, True)


REQUEST = b'{"query":"q","documents":["a",{"text":"b","id":"2","meta":{"k":[1]}}],"return_documents":true}'


@pytest.mark.parametrize(
    "answer",
    [
        b'{"id":"r","results":[{"index":1,"relevance_score":0.9},{"index":0,"relevance_score":0.1}]}',
        b'{"id":"r","data":[{"index":1,"score":0.9,"document":"b"},{"index":0,"score":0.1}]}',
        b'{"id":"r","results":[{"index":1,"score":0.9,"document":{"text":"x"}},{"index":0,"score":0.1}]}',
    ],
)
def test_every_servers_rerank_answer_reads_the_same(answer: bytes) -> None:
    assert msgspec.json.decode(rerank_answers.uniform_rerank(answer, REQUEST)) == {
        "id": "r",
        "results": [
            {"index": 1, "relevance_score": 0.9, "document": {"text": "b", "id": "2", "meta": {"k": [1]}}},
            {"index": 0, "relevance_score": 0.1, "document": {"text": "a"}},
        ],
    }


def test_documents_come_back_only_when_asked_for() -> None:
    request = REQUEST.replace(b"true", b"false")
    answer = b'[{"index":0,"score":0.5,"document":"a"}]'
    assert rerank_answers.uniform_rerank(answer, request) == b'{"results":[{"index":0,"relevance_score":0.5}]}'


@pytest.mark.parametrize("answer", [b"{}", b"7", b'{"results":7}', b'{"results":[{"index":2}]}', b'{"results":[{}]}'])
def test_a_rerank_answer_that_points_nowhere_is_none(answer: bytes) -> None:
    with pytest.raises(ValueError):
        rerank_answers.uniform_rerank(answer, REQUEST)
