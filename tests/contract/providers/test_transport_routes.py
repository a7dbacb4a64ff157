"""The HTTP exchange: what it connects through, proxies and TLS."""

from __future__ import annotations

import httpx
import pytest

from tests.contract.providers.transport_providers import CHAT, KEY, ProviderAt, failure_of
from tests.support.servers.canned import CA_FILE, canned, http
from tests.support.servers.upstream import Upstream, call_of


async def test_the_default_transport_of_httpx_is_never_used(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, provider_at: ProviderAt
) -> None:
    def refuse(*_args: object, **_fields: object) -> None:
        raise AssertionError("httpx's own transport was made")

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "__init__", refuse)
    provider = provider_at(upstream.base_url)
    assert (await provider.call(call_of())).body


async def test_proxies_of_the_environment_are_not_used(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, provider_at: ProviderAt
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    provider = provider_at(upstream.base_url)
    assert (await provider.call(call_of())).body


async def test_a_proxy_gets_its_credentials_and_the_request(provider_at: ProviderAt) -> None:
    async with canned(http(CHAT)) as proxy:
        provider = provider_at("http://far.example/v1", proxy=f"http://me:pass@127.0.0.1:{proxy.port}")
        await provider.call(call_of())
        ((head, _),) = proxy.requests
        assert head.startswith(b"POST http://far.example/v1/chat/completions HTTP/1.1\r\n")
        assert b"proxy-authorization: basic bwu6cgfzcw==" in head.lower()


async def test_a_tunnel_keeps_the_proxys_credentials_from_the_provider(provider_at: ProviderAt) -> None:
    async with canned(http(CHAT), tls=True) as server, canned(b"", tunnel_to=server.port) as proxy:
        provider = provider_at(
            f"https://127.0.0.1:{server.port}/v1",
            proxy=f"http://me:pass@127.0.0.1:{proxy.port}",
            ca_file=str(CA_FILE),
            api_key=KEY,
        )
        await provider.call(call_of())
        ((asked, _),) = proxy.requests
        assert asked.startswith(b"CONNECT ")
        assert b"proxy-authorization: basic bwu6cgfzcw==" in asked.lower()
        assert KEY.encode() not in asked
        ((head, _),) = server.requests
        assert b"proxy-authorization" not in head.lower()


async def test_a_ca_file_makes_its_certificates_trusted(provider_at: ProviderAt) -> None:
    async with canned(http(CHAT), tls=True) as server:
        provider = provider_at(f"https://127.0.0.1:{server.port}/v1", ca_file=str(CA_FILE))
        assert (await provider.call(call_of())).body == CHAT


async def test_an_untrusted_certificate_is_refused_for_good_and_names_the_fix(provider_at: ProviderAt) -> None:
    async with canned(http(CHAT), tls=True) as server:
        provider = provider_at(f"https://127.0.0.1:{server.port}/v1")
        error = await failure_of(provider)
        assert (error.status_code, error.retryable) == (502, False)
        assert "set ca_file" in error.message
        assert server.requests == []
