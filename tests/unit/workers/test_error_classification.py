"""What a client reads when a provider fails, and whether trying again helps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers import error_classification
from workers.provider_interface import ProviderError

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
JSON = {"content-type": "application/json"}
VOCABULARY = {
    "caller_model_unknown",
    "caller_invalid_request",
    "provider_auth_failed",
    "provider_billing",
    "provider_rate_limited",
    "provider_overloaded",
    "provider_server_error",
    "provider_timeout",
    "_OTHER",
}


def from_json(status: int, body: object) -> ProviderError:
    return error_classification.from_answer(status, msgspec.json.encode(body), JSON)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "m", "type": "t", "param": "p", "code": "c"}}, "m"),
        ({"error": "m"}, "m"),
        ({"code": "x", "error": "m"}, "m"),
        ({"object": "error", "message": "m", "type": "t", "code": 400}, "m"),
        ({"message": "m"}, "m"),
        ({"detail": "m"}, "m"),
        ({"detail": [{"loc": ["body"], "msg": "m1"}, {"msg": "m2"}]}, "m1; m2"),
        ({"errors": ["m"]}, "m"),
        ([{"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT"}}], "m"),
        ("m", "m"),
        ({}, "the provider answered HTTP 400"),
        ([], "the provider answered HTTP 400"),
        (None, "the provider answered HTTP 400"),
        ({"error": {}}, "the provider answered HTTP 400"),
        ({"error": {"message": None}}, "the provider answered HTTP 400"),
        ({"error": {"message": {"message": "m"}}}, "m"),
    ],
)
def test_the_message_is_found_in_every_shape_in_use(body: object, message: str) -> None:
    assert from_json(400, body).message == message


def test_type_code_and_param_are_kept_and_numbers_become_texts() -> None:
    error = from_json(400, {"error": {"message": "m", "type": "t", "param": "p", "code": 1234}})
    assert (error.type, error.code, error.param) == ("t", "1234", "p")
    assert from_json(429, [{"error": {"code": None, "status": "RESOURCE_EXHAUSTED"}}]).code == "RESOURCE_EXHAUSTED"


def test_text_that_is_no_json_is_the_message() -> None:
    assert error_classification.from_answer(500, b"upstream  is\n sad", {}).message == "upstream is sad"
    assert error_classification.from_answer(500, b"", {}).message == "the provider answered HTTP 500"
    assert error_classification.from_answer(500, b"\xff\xfe", {}).message


def test_a_page_is_told_by_type_or_look_and_shortened() -> None:
    page = b"<!DOCTYPE html><html><style>p{}</style><h1>502 Bad Gateway</h1>" + b"<p>lorem</p>" * 5000
    for headers in ({"content-type": "text/html; charset=utf-8"}, {}):
        error = error_classification.from_answer(502, page, headers)
        assert error.message.startswith("an HTML page came back: 502 Bad Gateway")
        assert len(error.message) < 400


def test_an_account_without_money_is_no_rate_limit() -> None:
    error = from_json(429, {"error": {"message": "m", "type": "insufficient_quota", "code": "insufficient_quota"}})
    assert (error.error_type, error.retryable, error.status_code) == ("provider_billing", False, 429)


def test_a_secret_never_comes_back_even_cut_in_half() -> None:
    secret = "sk-0123456789abcdef"
    for padding in range(
        error_classification.MAX_MESSAGE_CHARACTERS - 30, error_classification.MAX_MESSAGE_CHARACTERS + 5
    ):
        body = {"error": {"message": "x" * padding + secret, "type": secret, "code": secret, "param": secret}}
        error = error_classification.from_answer(401, msgspec.json.encode(body), JSON, {secret})
        assert "0123" not in f"{error.message} {error.type} {error.code} {error.param}"


@given(st.integers(300, 599), st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_answer_becomes_a_bounded_error_of_the_vocabulary(status: int, body: bytes) -> None:
    error = error_classification.from_answer(status, body, {})
    assert error.error_type in VOCABULARY
    assert 400 <= error.status_code <= 599
    assert 0 < len(error.message) <= error_classification.MAX_MESSAGE_CHARACTERS + 3
    assert error.retryable == (
        error.status_code in (408, 409, 425, 429) or (error.status_code >= 500 and status >= 400)
    )


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "1e99"}, 7 * 86400),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": format_datetime(NOW + timedelta(seconds=90), usegmt=True)}, 90),
        ({"retry-after": format_datetime(NOW - timedelta(seconds=90), usegmt=True)}, 0),
        ({"retry-after": "Thu, 99 Foo 2026 12:00:00 GMT"}, None),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: dict[str, str], seconds: float | None) -> None:
    assert error_classification.read_retry_after(headers, NOW) == seconds


def test_retry_after_means_nothing_where_trying_again_does_not_help() -> None:
    assert error_classification.from_answer(400, b"", {"retry-after": "7"}).retry_after is None
    assert error_classification.from_answer(503, b"", {"retry-after": "7"}).retry_after == 7


def test_a_hostile_page_takes_no_time() -> None:
    started = datetime.now(UTC)
    for body in (b"<" * 60_000, b"<script" * 8000, b"<style>" * 8000):
        error_classification.from_answer(500, b"<html>" + body, {})
    assert datetime.now(UTC) - started < timedelta(seconds=2)
