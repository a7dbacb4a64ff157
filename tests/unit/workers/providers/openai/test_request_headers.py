"""Which headers go out, and that a client can add some but change none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.providers.config import ProviderConfig
from workers.providers.openai.request_headers import call_headers, fixed_headers, idempotency_key, secrets_of

CONFIG = ProviderConfig(
    name="up", base_url="http://up/v1", api_key="sk-secret-value", headers={"x-org": "mine", "user-agent": "me"}
)
FIXED = fixed_headers(CONFIG)


def headers_with(forward: dict[str, str], *, trace: bool = False) -> dict[str, str]:
    return dict(call_headers(FIXED, forward, "application/json", "job-1/1/0", trace=trace))


def test_the_operators_headers_win_over_ours() -> None:
    headers = headers_with({})
    assert headers["authorization"] == "Bearer sk-secret-value"
    assert (headers["x-org"], headers["user-agent"]) == ("mine", "me")
    assert headers["accept-encoding"] == "gzip"


def test_a_provider_without_a_key_gets_none() -> None:
    assert "authorization" not in dict(fixed_headers(ProviderConfig(name="up", base_url="http://up/v1")))


def test_forwarded_headers_pass() -> None:
    headers = headers_with({"openai-organization": "org-1", "x-custom": "a, b"})
    assert (headers["openai-organization"], headers["x-custom"]) == ("org-1", "a, b")


RESERVED = (
    "authorization host content-length content-type transfer-encoding connection cookie x-org user-agent expect "
    "proxy-authorization x-api-key api-key x-goog-api-key idempotency-key te accept-encoding x-bf-vk x-coatcheck-call "
    "upgrade x-forwarded-for A a:b"
)


@pytest.mark.parametrize("name", [*RESERVED.split(), "", "a b"])
def test_what_a_client_may_not_say_does_not_pass(name: str) -> None:
    assert headers_with({name: "evil"}) == headers_with({})


@given(st.dictionaries(st.text(max_size=10), st.text(max_size=10)))
def test_no_forwarded_header_breaks_out_of_its_line(forward: dict[str, str]) -> None:
    for name, value in headers_with(forward).items():
        assert name.isascii() and name.isprintable() and " " not in name
        assert value.isascii() and value.isprintable()


def test_the_job_id_leaves_only_when_calls_are_traced() -> None:
    assert "job-1" not in str(headers_with({}))
    assert headers_with({}, trace=True)["x-coatcheck-call"] == "job-1/1/0"


def test_every_call_has_an_idempotency_key_of_its_own() -> None:
    keys = {idempotency_key(f"job/{claim}/{number}") for claim in range(20) for number in range(5)}
    assert len(keys) == 100
    assert headers_with({})["idempotency-key"] == idempotency_key("job-1/1/0")


def test_secrets_are_the_key_and_long_header_values() -> None:
    assert secrets_of(CONFIG) == {"sk-secret-value"}
