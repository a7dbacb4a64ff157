"""Request headers: who asks, how long, what goes on to the provider."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.http.request_headers import NEVER_FORWARDED, CallHeaders, read_headers
from shared.domain.errors import BadRequest

DEFAULT, MAXIMUM = 3600, 30 * 86400


def read(**headers: str) -> CallHeaders:
    return read_headers([(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()])


def ttl(value: str) -> int:
    return read(x_bf_async_job_result_ttl=value).result_ttl(default=DEFAULT, maximum=MAXIMUM)


@pytest.mark.parametrize("value", ["120", "+120", " 120 ", "000120"])
def test_a_positive_ttl_counts(value: str) -> None:
    assert ttl(value) == 120


@pytest.mark.parametrize("value", ["", "0", "-1", "abc", "1.5", "1_000", "0x10", "１２", "1e3", "--1", "+-1", "000"])
def test_any_other_ttl_means_the_default(value: str) -> None:
    headers = [(b"x-bf-async-job-result-ttl", value.encode())]
    assert read_headers(headers).result_ttl(default=DEFAULT, maximum=MAXIMUM) == DEFAULT


def test_no_ttl_means_the_default() -> None:
    assert read().result_ttl(default=DEFAULT, maximum=MAXIMUM) == DEFAULT


@pytest.mark.parametrize("value", ["99999999999", "9223372037", "9" * 8000])
def test_a_huge_ttl_is_capped(value: str) -> None:
    assert ttl(value) == MAXIMUM


@given(st.binary(max_size=60))
def test_no_ttl_header_is_ever_an_error_or_out_of_range(value: bytes) -> None:
    headers = read_headers([(b"x-bf-async-job-result-ttl", value)])
    assert 1 <= headers.result_ttl(default=DEFAULT, maximum=MAXIMUM) <= MAXIMUM


def test_the_deadline_only_goes_down() -> None:
    assert read().deadline(maximum=100) == 100
    assert read(x_coatcheck_deadline="7").deadline(maximum=100) == 7
    assert read(x_coatcheck_deadline="101").deadline(maximum=100) == 100


@pytest.mark.parametrize("value", ["0", "-1", "soon", "1.5", "+5"])
def test_a_deadline_that_is_no_number_of_seconds_is_refused(value: str) -> None:
    with pytest.raises(BadRequest, match="x-coatcheck-deadline"):
        read(x_coatcheck_deadline=value).deadline(maximum=100)


@pytest.mark.parametrize(
    ("headers", "secret"),
    [
        ({}, None),
        ({"x_bf_vk": "anything at all"}, b"anything at all"),
        ({"authorization": "Bearer sk-bf-1"}, b"sk-bf-1"),
        ({"authorization": "bEARER   SK-BF-1"}, b"SK-BF-1"),
        ({"authorization": "Bearer sk-other"}, None),
        ({"authorization": "Basic sk-bf-1"}, None),
        ({"authorization": "sk-bf-1"}, None),
        ({"x_api_key": "sk-bf-1"}, b"sk-bf-1"),
        ({"x_api_key": "other"}, None),
        ({"x_goog_api_key": "sk-bf-1"}, b"sk-bf-1"),
        ({"api_key": "sk-bf-1"}, b"sk-bf-1"),
        ({"x_bf_vk": "", "api_key": "sk-bf-1"}, b"sk-bf-1"),
        ({"api_key": "sk-bf-5", "x_goog_api_key": "sk-bf-4", "x_api_key": "sk-bf-3"}, b"sk-bf-3"),
        ({"x_api_key": "sk-bf-3", "authorization": "Bearer sk-bf-2"}, b"sk-bf-2"),
        ({"authorization": "Bearer sk-bf-2", "x_bf_vk": "one"}, b"one"),
        ({"authorization": "Bearer sk-other", "x_api_key": "sk-bf-3"}, b"sk-bf-3"),
    ],
)
def test_the_virtual_key_comes_from_one_header_by_fixed_precedence(
    headers: dict[str, str], secret: bytes | None
) -> None:
    assert read(**headers).virtual_key == secret
    backwards = dict(reversed(headers.items()))
    assert read(**backwards).virtual_key == secret


@pytest.mark.parametrize("key", ["1", "a" * 255, "9e107d9d-372b-4c1e-8b7e", "with space"])
def test_an_idempotency_key_is_1_to_255_printable_characters(key: str) -> None:
    assert read(idempotency_key=key).idempotency_key == key


@pytest.mark.parametrize("key", ["", "a" * 256, "tab\there", "é", "\x7f", "nul\x00"])
def test_any_other_idempotency_key_is_refused(key: str) -> None:
    with pytest.raises(BadRequest, match="1 to 255 printable"):
        _ = read(idempotency_key=key).idempotency_key


def test_no_idempotency_key_is_none() -> None:
    assert read().idempotency_key is None


def test_pass_through_headers_keep_order_and_repetition_and_lose_case() -> None:
    headers = read_headers(
        [(b"x-bf-eh-X-Trace", b"1"), (b"x-bf-eh-tag", b"a"), (b"x-bf-eh-tag", b"b"), (b"x-other", b"no")]
    )
    assert headers.forward == (("x-trace", "1"), ("tag", "a"), ("tag", "b"))


@pytest.mark.parametrize("name", [*sorted(NEVER_FORWARDED), "x-bf-vk", "x-bf-api-key", "x-bf-direct-key", ""])
def test_credentials_and_framing_are_never_passed_on(name: str) -> None:
    assert read_headers([(b"x-bf-eh-" + name.encode(), b"value")]).forward == ()


@pytest.mark.parametrize("value", ["caf\xe9", "a\x00b", "a\x7f"])
def test_a_pass_through_value_that_no_provider_would_take_is_refused(value: str) -> None:
    with pytest.raises(BadRequest, match="x-bf-eh-note"):
        read(x_bf_eh_note=value)


@pytest.mark.parametrize(
    ("value", "wanted"), [("true", True), ("TRUE", True), ("false", False), ("1", False), ("", False)]
)
def test_only_true_switches_something_on(value: str, wanted: bool) -> None:
    assert read(x_bf_async=value).wants_async is wanted
    assert read(x_bf_passthrough_extra_params=value).extra_params is wanted


def test_blank_control_headers_count_as_none() -> None:
    headers = read(x_bf_async_id=" ", x_bf_async_webhook=" ")
    assert headers.async_id is None
    assert headers.webhook is None
    assert read(x_bf_async_webhook=" hook ").webhook == "hook"


@given(st.lists(st.tuples(st.binary(max_size=30).map(bytes.lower), st.binary(max_size=30)), max_size=8))
def test_no_header_breaks_the_reader(raw: list[tuple[bytes, bytes]]) -> None:
    try:
        headers = read_headers(raw)
        _ = headers.virtual_key, headers.idempotency_key, headers.content_type, headers.async_id, headers.webhook
    except BadRequest:
        pass
