"""One HTTP exchange with a provider: bounded in time, connections and decoded bytes, and safe to cancel anywhere."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncGenerator
from functools import cache
from typing import Any, cast

import aiohttp
import httpx
import msgspec
from httpx_aiohttp import AiohttpTransport

from shared.providers import ProviderConfig
from workers.providers import errors
from workers.providers.base import ProviderError
from workers.providers.bounded_body import BoundedBody

MAX_ERROR_BODY_BYTES = 64 * 1024
_KEEPALIVE_SECONDS = 4.0
"""Below the 5 s after which uvicorn, and so vLLM, closes an idle connection, so that none closes under a call."""
_TCP_KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
"""A quiet call of many minutes must not be forgotten by a NAT or load balancer on the way."""


class Reply(msgspec.Struct, frozen=True):
    """An HTTP answer, body decoded; of an error at most the first MAX_ERROR_BODY_BYTES."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes


class Transport:
    """The connections to one provider. No redirects, no cookies, nothing from the environment."""

    def __init__(self, config: ProviderConfig, *, max_body_bytes: int) -> None:
        self._config = config
        self._max_body_bytes = max_body_bytes
        self._slots = asyncio.Semaphore(config.max_concurrency)
        self._proxy, self._proxy_headers = _proxy(config.proxy)
        # httpx's own transport leaks pool slots when cancelled and collapses at 1000 connections: never use it.
        self.http: httpx.AsyncBaseTransport = AiohttpTransport(
            verify=_tls_context(config.ca_file),
            trust_env=False,
            proxy=self._proxy,
            client=self._session,
        )

    async def send(
        self, method: str, url: httpx.URL, headers: list[tuple[str, str]], content: bytes, seconds: float
    ) -> Reply:
        """Makes one exchange within `seconds` in all. Raises ProviderError for all but an HTTP answer."""
        timeouts = {"connect": self._config.connect_timeout_seconds, "pool": self._config.connect_timeout_seconds}
        if url.scheme == "http":  # a tunnel for https asks by itself, and what goes through it must not carry this
            headers = [*headers, *self._proxy_headers]
        request = httpx.Request(method, url, headers=headers, content=content, extensions={"timeout": timeouts})
        waiting = True
        try:
            async with asyncio.timeout(seconds) as deadline, self._slots:
                waiting = False
                return await self._exchange(request)
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
            if deadline.expired():
                raise (errors.no_slot(seconds) if waiting else errors.timed_out(seconds)) from None
            raise self._failure(error) from None

    async def close(self) -> None:
        """Closes all connections. Safe to call twice."""
        await self.http.aclose()

    async def _exchange(self, request: httpx.Request) -> Reply:
        response = await self.http.handle_async_request(request)
        stream = cast(httpx.AsyncByteStream, response.stream)
        # A plain dictionary, for httpx.Headers walks through all of them at every look.
        headers = {name.lower().decode("latin-1"): value.decode("latin-1") for name, value in response.headers.raw}
        try:
            if response.status_code >= 400:
                body = await _read_start(headers, stream)
            else:
                body = await _read(headers, stream, self._max_body_bytes)
        finally:
            # An answer that was not read to its end closes its connection here.
            await stream.aclose()
        return Reply(response.status_code, headers, body)

    def _failure(self, error: Exception) -> ProviderError:
        cause = error.__cause__ or error  # the transport's own mapping takes a reset for a connect time-out
        if isinstance(cause, aiohttp.ServerTimeoutError):
            return errors.connect_timed_out(self._config.connect_timeout_seconds)
        if isinstance(cause, aiohttp.ClientConnectorCertificateError):
            return errors.connection_failed(f"{cause}; set ca_file if this is your own CA", retryable=False)
        return errors.connection_failed(_reason(cause))

    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=self._config.max_concurrency,
            keepalive_timeout=_KEEPALIVE_SECONDS,
            ssl=_tls_context(self._config.ca_file),
            socket_factory=_socket,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            trust_env=False,
            auto_decompress=False,
        )


def _proxy(url: str) -> tuple[httpx.Proxy | None, list[tuple[str, str]]]:
    """The proxy, and what a plain request through it must carry. aiohttp no longer likes credentials in its URL."""
    if not url:
        return None, []
    parsed = httpx.URL(url)
    if not parsed.username:
        return httpx.Proxy(url), []
    header = ("proxy-authorization", aiohttp.encode_basic_auth(parsed.username, parsed.password))
    return httpx.Proxy(parsed.copy_with(username=None, password=None), headers=[header]), [header]


def _reason(error: BaseException) -> str:
    """What went wrong, in the system's words."""
    if not isinstance(error, aiohttp.ClientConnectorError):
        return str(error) or type(error).__name__
    below = error.os_error
    if isinstance(below, ssl.SSLError):
        words = f"TLS: {below.reason or below}"
    elif isinstance(below, socket.gaierror) or (below.errno or 0) <= 0:
        words = str(below.strerror or below)
    else:
        words = os.strerror(below.errno or 0)
    return f"{error.host}:{error.port}: {words or type(below).__name__}"


@cache
def _tls_context(ca_file: str) -> ssl.SSLContext:
    """Making one takes 20 ms, so providers share it."""
    return ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context(trust_env=False)


def _socket(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol = address[:3]
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _TCP_KEEPALIVE:
        if hasattr(socket, name):  # not all of them on macOS
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made


async def _read(headers: dict[str, str], stream: httpx.AsyncByteStream, limit: int) -> bytes:
    """The whole body. Raises ProviderError when it is larger than `limit` or cannot be decoded."""
    if int(headers.get("content-length") or 0) > limit:
        raise errors.too_large(limit)
    body = _body(headers, limit)
    if not await _feed(body, stream):
        raise errors.too_large(limit)
    return body.finish()


async def _read_start(headers: dict[str, str], stream: httpx.AsyncByteStream) -> bytes:
    """The beginning of an error's body: the rest is not worth waiting for, and the status alone says enough."""
    try:
        body = _body(headers, MAX_ERROR_BODY_BYTES)
        await _feed(body, stream)
    except (httpx.HTTPError, ProviderError):
        return b""
    return body.start()


def _body(headers: dict[str, str], limit: int) -> BoundedBody:
    return BoundedBody(headers.get("content-encoding", "").strip().lower(), limit)


async def _feed(body: BoundedBody, stream: httpx.AsyncByteStream) -> bool:
    """False when the body is over its limit."""
    pieces = cast(AsyncGenerator[bytes, None], stream.__aiter__())
    try:
        async for piece in pieces:
            if not body.feed(piece):
                return False
    finally:
        await pieces.aclose()
    return True
