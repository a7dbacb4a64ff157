"""An httpx transport through a proxy, over aiohttp: httpx's own leaks slots of its pool when a call is cancelled."""

from __future__ import annotations

import os
import socket
import ssl

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from shared.providers import ProviderConfig
from workers.providers.connections import KEEPALIVE_SECONDS, make_socket

Headers = list[tuple[str, str]]


def proxied(config: ProviderConfig, tls: ssl.SSLContext) -> tuple[AiohttpTransport, Headers]:
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


def _proxy(url: str) -> tuple[httpx.Proxy | None, Headers]:
    """aiohttp no longer likes credentials in a proxy's URL."""
    if not url:
        return None, []
    parsed = httpx.URL(url)
    if not parsed.username:
        return httpx.Proxy(url), []
    header = ("proxy-authorization", aiohttp.encode_basic_auth(parsed.username, parsed.password))
    return httpx.Proxy(parsed.copy_with(username=None, password=None), headers=[header]), [header]


def reason(error: Exception) -> str:
    """What went wrong, in the system's words, whichever transport raised it."""
    cause = error.__cause__ or error
    if not isinstance(cause, aiohttp.ClientConnectorError):
        return str(error) or type(cause).__name__
    below = cause.os_error
    if isinstance(below, ssl.SSLError):
        words = f"TLS: {below.reason or below}"
    elif isinstance(below, socket.gaierror) or (below.errno or 0) <= 0:
        words = str(below.strerror or below)
    else:
        words = os.strerror(below.errno or 0)
    return f"{cause.host}:{cause.port}: {words or type(below).__name__}"
