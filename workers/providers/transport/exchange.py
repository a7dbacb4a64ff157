"""One HTTP exchange with a provider: bounded in time, connections and decoded bytes, and safe to cancel anywhere."""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from functools import cache
from typing import cast

import aiohttp
import httpx
import msgspec

from shared.providers.config import ProviderConfig
from workers import error_classification
from workers.answer_memory_budget import AnswerMemory
from workers.provider_interface import CALLS, Calls, ProviderError
from workers.providers.transport.direct import DirectTransport
from workers.providers.transport.proxied import proxied, reason

MAX_ERROR_BODY_BYTES = 64 * 1024
_NO_LIMIT = 1 << 62
_GZIP = 31  # zlib's window bits for a gzip file
_STEP_BYTES = 1024 * 1024
"""Unzipped at a time: a buffer that grows to the whole limit is copied several times on the way."""

Room = Callable[[int], Awaitable[None]]
"""Waits until a body may have so many bytes here."""


class Reply(msgspec.Struct, frozen=True):
    """An HTTP answer, body decoded; of an error at most the first MAX_ERROR_BODY_BYTES."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes


class Transport:
    """The connections to one provider. No redirects, no cookies, nothing from the environment."""

    def __init__(self, config: ProviderConfig, *, max_body_bytes: int, memory: AnswerMemory | None = None) -> None:
        self._connect_seconds = config.connect_timeout_seconds
        self._max_body_bytes = max_body_bytes
        self._memory = memory or AnswerMemory(_NO_LIMIT)
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
        """Makes one exchange within `seconds`; waits for our own bounds do not count. Raises ProviderError."""
        request = self._request(method, url, headers, content)
        waited = await self._place(seconds)
        try:
            if waited:
                await CALLS.get(Calls()).begin()
            async with asyncio.timeout(seconds) as deadline:
                with self._memory.incoming() as room:
                    return await self._exchange(request, lambda size: room.up_to(size, deadline))
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
            if deadline.expired():
                raise error_classification.timed_out(seconds) from None
            raise self._failure(error) from None
        finally:
            self._slots.release()

    async def _place(self, seconds: float) -> bool:
        """Wait until one exchange more may run; whether the call was put off for it. Its own time begins after that."""
        if not self._slots.locked():
            await self._slots.acquire()  # at once
            return False
        await CALLS.get(Calls()).put_off()
        try:
            async with asyncio.timeout(seconds):
                await self._slots.acquire()
        except TimeoutError:
            raise error_classification.no_slot(seconds) from None
        return True

    async def close(self) -> None:
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

    async def _exchange(self, request: httpx.Request, room: Room) -> Reply:
        response = await self.http.handle_async_request(request)
        stream = cast(httpx.AsyncByteStream, response.stream)
        # A plain dictionary, for httpx.Headers walks through all of them at every look.
        headers = {name.lower().decode("latin-1"): value.decode("latin-1") for name, value in response.headers.raw}
        encoding = headers.get("content-encoding", "").strip().lower()
        try:
            if response.status_code >= 400:
                body = await _read_start(encoding, stream)
            else:
                body = await _read(
                    encoding, stream, int(headers.get("content-length") or 0), self._max_body_bytes, room
                )
        finally:
            # An answer that was not read to its end closes its connection here.
            await stream.aclose()
        return Reply(response.status_code, headers, body)

    def _failure(self, error: Exception) -> ProviderError:
        cause = error.__cause__ or error  # httpx-aiohttp's own mapping takes a reset for a connect time-out
        if isinstance(cause, (aiohttp.ServerTimeoutError, httpx.ConnectTimeout)):
            return error_classification.connect_timed_out(self._connect_seconds)
        if isinstance(cause, (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError)):
            fix = f"{error}; set ca_file if this is your own CA"
            return error_classification.connection_failed(fix, retryable=False)
        return error_classification.connection_failed(reason(error))


@cache
def tls_context(ca_file: str) -> ssl.SSLContext:
    """Making one takes 20 ms, so providers share it."""
    return ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context(trust_env=False)


class BoundedBody:
    """At most `limit` decoded bytes. Raises ProviderError for an encoding that was not asked for."""

    def __init__(self, encoding: str, limit: int) -> None:
        if encoding not in ("", "identity", "gzip", "x-gzip"):
            raise error_classification.bad_answer(f"content-encoding {encoding[:40]!r} was not asked for")
        self._unzip = zlib.decompressobj(wbits=_GZIP) if encoding.endswith("gzip") else None
        self._pieces: list[bytes] = []
        self._limit = self._left = limit

    @property
    def size(self) -> int:
        return self._limit - self._left

    def feed(self, piece: bytes) -> Iterator[bool]:
        """Takes a piece as it came over the wire, step by step. False when the body is over its limit: stop reading."""
        if self._unzip is None:
            yield self._keep(piece)
            return
        try:
            while piece:
                if self._unzip.eof:  # one gzip file may follow another
                    self._unzip = zlib.decompressobj(wbits=_GZIP)
                yield self._keep(self._unzip.decompress(piece, min(self._left + 1, _STEP_BYTES)))
                piece = self._unzip.unused_data if self._unzip.eof else self._unzip.unconsumed_tail
        except zlib.error as error:
            raise error_classification.bad_answer(f"broken gzip: {error}") from None

    def finish(self) -> bytes:
        """The whole body. Raises ProviderError when the zip ends too early."""
        if self._unzip is not None and self._pieces and not self._unzip.eof:
            raise error_classification.bad_answer("gzip that ends too early")
        return self.start()

    def start(self) -> bytes:
        """What has come so far, for an error whose whole text does not matter."""
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    def _keep(self, decoded: bytes) -> bool:
        self._left -= len(decoded)
        self._pieces.append(decoded if self._left >= 0 else decoded[: self._left])
        return self._left >= 0


async def _read(encoding: str, stream: httpx.AsyncByteStream, length: int, limit: int, room: Room) -> bytes:
    """The whole body. Raises ProviderError when it is larger than `limit` or cannot be decoded."""
    if length > limit:
        raise error_classification.too_large(limit)
    body = BoundedBody(encoding, limit)
    await room(length)
    if not await _feed(body, stream, room):
        raise error_classification.too_large(limit)
    return body.finish()


async def _read_start(encoding: str, stream: httpx.AsyncByteStream) -> bytes:
    """The beginning of an error's body: the rest is not worth waiting for, and the status alone says enough."""
    try:
        body = BoundedBody(encoding, MAX_ERROR_BODY_BYTES)
        await _feed(body, stream)
    except (httpx.HTTPError, ProviderError):
        return b""
    return body.start()


async def _feed(body: BoundedBody, stream: httpx.AsyncByteStream, room: Room | None = None) -> bool:
    """False when the body is over its limit. Without `room` it may be here at once."""
    pieces = cast(AsyncGenerator[bytes, None], stream.__aiter__())
    try:
        async for piece in pieces:
            for fits in body.feed(piece):
                if not fits:
                    return False
                if room is not None:
                    await room(body.size)
    finally:
        await pieces.aclose()
    return True
