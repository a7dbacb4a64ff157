"""The HTTP exchange: answers that are packed, too large, no HTTP, or quote a secret."""

from __future__ import annotations

import gzip

import pytest

from tests.contract.providers.transport_providers import CHAT, KEY, ProviderAt, failure_of
from tests.support.servers.canned import canned, http
from tests.support.servers.upstream import Upstream, call_of


async def test_an_answer_that_is_no_http_is_a_connection_failure(provider_at: ProviderAt) -> None:
    async with canned(b"SSH-2.0-OpenSSH\r\n\r\n") as server:
        provider = provider_at(server.port)
        error = await failure_of(provider)
        assert (error.status_code, error.error_type) == (502, "provider_connection_failed")


async def test_gzip_is_asked_for_and_unpacked(provider_at: ProviderAt) -> None:
    async with canned(http(gzip.compress(CHAT), "content-encoding: gzip")) as server:
        provider = provider_at(server.port)
        assert (await provider.call(call_of())).body == CHAT
        assert b"accept-encoding: gzip\r\n" in server.requests[0][0].lower()


@pytest.mark.parametrize("extra", ["content-encoding: br", "content-encoding: gzip"])
async def test_an_error_in_a_strange_encoding_keeps_its_status(extra: str, provider_at: ProviderAt) -> None:
    async with canned(http(b"\x00\x01", extra, status="503 Busy")) as server:
        provider = provider_at(server.port)
        assert (await failure_of(provider)).status_code == 503


async def test_a_declared_size_above_the_limit_is_refused_before_it_is_read(provider_at: ProviderAt) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99999999\r\n\r\n"
    async with canned(answer) as server:
        provider = provider_at(server.port)
        error = await failure_of(provider, call_of(seconds=5))
        assert (error.code, error.retryable) == ("result_too_large", False)


async def test_a_huge_error_is_read_at_its_beginning_only(provider_at: ProviderAt) -> None:
    async with canned(http(b"x" * (1 << 22), status="500 Oops", media_type="text/plain")) as server:
        provider = provider_at(server.port)
        error = await failure_of(provider)
        assert error.status_code == 500
        assert len(error.message) < 3000


async def test_a_key_that_the_provider_quotes_does_not_come_back(provider_at: ProviderAt) -> None:
    body = b'{"error":{"message":"bad key ' + KEY.encode() + b'","code":"' + KEY.encode() + b'"}}'
    async with canned(http(body, status="401 No")) as server:
        provider = provider_at(server.port, api_key=KEY)
        error = await failure_of(provider)
        assert KEY not in f"{error!r} {error.message} {error.code}"
        assert error.message == "bad key [redacted]"


@pytest.mark.parametrize(("body", "media_type"), [(b'{"text":"t"}', "application/json"), (b"t", None)])
async def test_an_answer_without_a_content_type_is_told_by_its_look(
    body: bytes, media_type: str | None, provider_at: ProviderAt
) -> None:
    answer = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
    async with canned(answer) as server:
        found = await provider_at(server.port).call(call_of("transcription"))
    assert found.body == body
    assert (found.media_type == "application/json") == (media_type is not None)


async def test_an_unforeseen_error_is_still_a_provider_error(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, provider_at: ProviderAt
) -> None:
    async def explode(*_args: object) -> None:
        raise RuntimeError("a bug")

    provider = provider_at(upstream.base_url)
    monkeypatch.setattr(provider.transport, "send", explode)
    error = await failure_of(provider)
    assert (error.status_code, error.error_type, error.retryable) == (500, "bifrost_internal", False)
    assert "a bug" not in error.message
    assert "RuntimeError: a bug" in caplog.text
