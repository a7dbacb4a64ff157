"""One HTTP exchange with a provider: bounded in time, connections and decoded bytes, and safe to cancel anywhere."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from functools import cache
from typing import cast

import aiohttp
import httpx
import msgspec

from shared.providers import ProviderConfig
from workers.providers import errors
from workers.providers.base import ProviderError
from workers.providers.bounded_body import BoundedBody
from workers.providers.direct import DirectTransport
from workers.providers.proxied import proxied, reason

MAX_ERROR_BODY_BYTES = 64 * 1024


class Reply(msgspec.Struct, frozen=True):
    """An HTTP answer, body decoded; of an error at most the first MAX_ERROR_BODY_BYTES."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes


class Transport:
    """The connections to one provider. No redirects, no cookies, nothing from the environment."""

    def __init__(self, config: ProviderConfig, *, max_body_bytes: int) -> None:
        self._connect_seconds = config.connect_timeout_seconds
        self._max_body_bytes = max_body_bytes
        self._slots = asyncio.Semaphore(config.max_concurrency)
        self._proxy_headers: list[tuple[str, str]] = []
        self.http: httpx.AsyncBaseTransport
        tls = tls_context(config.ca_file)
        if config.proxy:
            self.http, self._proxy_headers = proxied(config, tls)
        else:
            self.http = DirectTransport(tls=tls, connect_seconds=self._connect_seconds)

    async def send(
        self, method: str, url: httpx.URL, headers: list[tuple[str, str]], content: bytes, seconds: float
    ) -> Reply:
        """Makes one exchange within `seconds` in all. Raises ProviderError for all but an HTTP answer."""
        request = self._request(method, url, headers, content)
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

    def _request(self, method: str, url: httpx.URL, headers: list[tuple[str, str]], content: bytes) -> httpx.Request:
        """With `content=` httpx would look through the headers several times, for as much as the exchange costs."""
        framing = [(b"host", url.netloc), (b"content-length", b"%d" % len(content))]
        if url.scheme == "http":  # a tunnel for https asks by itself, and what goes through it must not carry this
            headers = [*headers, *self._proxy_headers]
        encoded = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers]
        timeouts = {"connect": self._connect_seconds, "pool": self._connect_seconds}
        stream, extensions = httpx.ByteStream(content), {"timeout": timeouts}
        request = httpx.Request(method, url, headers=[*framing, *encoded], stream=stream, extensions=extensions)
        request.read()
        return request

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
        cause = error.__cause__ or error  # httpx-aiohttp's own mapping takes a reset for a connect time-out
        if isinstance(cause, (aiohttp.ServerTimeoutError, httpx.ConnectTimeout)):
            return errors.connect_timed_out(self._connect_seconds)
        if isinstance(cause, (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError)):
            return errors.connection_failed(f"{error}; set ca_file if this is your own CA", retryable=False)
        return errors.connection_failed(reason(error))


@cache
def tls_context(ca_file: str) -> ssl.SSLContext:
    """Making one takes 20 ms, so providers share it."""
    return ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context(trust_env=False)


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
