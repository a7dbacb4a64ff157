"""An httpx transport through a proxy, over aiohttp: httpx's own leaks slots of its pool when a call is cancelled."""

from __future__ import annotations

import ssl

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from shared.providers.config import ProviderConfig
from workers.providers.transport.direct import KEEPALIVE_SECONDS, make_socket, words


def proxied(config: ProviderConfig, tls: ssl.SSLContext) -> tuple[AiohttpTransport, list[tuple[str, str]]]:
    """The transport, and what a plain request through it must carry."""
    proxy, headers = _proxy(config.proxy)

    def session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=config.max_concurrency, keepalive_timeout=KEEPALIVE_SECONDS, ssl=tls, socket_factory=make_socket
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            trust_env=False,
            auto_decompress=False,
        )

    return AiohttpTransport(verify=tls, trust_env=False, proxy=proxy, client=session), headers


def _proxy(url: str) -> tuple[httpx.Proxy | None, list[tuple[str, str]]]:
    """aiohttp no longer likes credentials in a proxy's URL."""
    parsed = httpx.URL(url)
    if not parsed.username:
        return httpx.Proxy(url) if url else None, []
    header = ("proxy-authorization", aiohttp.encode_basic_auth(parsed.username, parsed.password))
    return httpx.Proxy(parsed.copy_with(username=None, password=None), headers=[header]), [header]


def reason(error: Exception) -> str:
    """What went wrong, in the system's words, whichever transport raised it."""
    cause = error.__cause__ or error
    if not isinstance(cause, aiohttp.ClientConnectorError):
        return str(error) or type(cause).__name__
    return f"{cause.host}:{cause.port}: {words(cause.os_error)}"
