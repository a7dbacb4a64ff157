"""The HTTP exchange itself, on real sockets: bounds, cancellation, TLS, proxies, and what goes over the wire."""

from __future__ import annotations

import asyncio
import gzip
import random
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import httpx
import pytest

from shared.domain.catalogue import CATALOGUE
from shared.domain.form import parse_form
from shared.providers.config import configured
from tests.support.jobs import eventually
from tests.support.servers.canned import CA_FILE, canned, http
from tests.support.servers.upstream import FORM_PARTS, Upstream, call_of, running_upstream
from workers.provider_interface import CALLS, Call, Calls, ProviderError
from workers.providers.openai.provider import OpenAIProvider
from workers.providers.transport import exchange
from workers.providers.transport.direct import DirectTransport, make_socket
from workers.providers.transport.proxied import proxied

CHAT = b'{"choices":[{"index":0}]}'
KEY = "sk-secret-key-123456"


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with running_upstream() as running:
        yield running


ProviderAt = Callable[..., OpenAIProvider]


@pytest.fixture(params=["direct", "through aiohttp"])
async def provider_at(request: pytest.FixtureRequest) -> AsyncIterator[ProviderAt]:
    """Makes providers for a port or base URL, over either transport, and closes them at the end."""
    made: list[OpenAIProvider] = []

    def make(address: int | str, **fields: Any) -> OpenAIProvider:
        base_url = f"http://127.0.0.1:{address}/v1" if isinstance(address, int) else address
        config = configured({"up": {"base_url": base_url, **fields}}, {})["up"]
        made.append(OpenAIProvider(config, max_body_bytes=1 << 20))
        if request.param == "through aiohttp" and not config.proxy:
            made[-1].transport.http, _ = proxied(config, exchange.tls_context(config.ca_file))
        return made[-1]

    yield make
    for provider in made:
        await provider.close()


async def failure_of(provider: OpenAIProvider, call: Call | None = None) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await provider.call(call or call_of())
    return caught.value


def busy_connections(provider: OpenAIProvider) -> int:
    if isinstance(provider.transport.http, DirectTransport):
        return provider.transport.http.connections.busy
    session = provider.transport.http.client  # type: ignore[attr-defined]
    if not isinstance(session, aiohttp.ClientSession):
        return 0  # no call was made yet
    assert session.connector is not None
    return len(session.connector._acquired)


async def test_the_default_transport_of_httpx_is_never_used(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch, provider_at: ProviderAt
) -> None:
    def refuse(*_args: object, **_fields: object) -> None:
        raise AssertionError("httpx's own transport was made")

    monkeypatch.setattr(httpx.AsyncHTTPTransport, "__init__", refuse)
    provider = provider_at(upstream.base_url)
    assert (await provider.call(call_of())).body


async def test_never_more_connections_than_max_concurrency(upstream: Upstream, provider_at: ProviderAt) -> None:
    provider = provider_at(upstream.base_url, max_concurrency=3)
    await asyncio.gather(*(provider.call(call_of(model="latency=20")) for _ in range(15)))
    assert upstream.log is not None
    assert (upstream.log.calls, upstream.log.peak) == (15, 3)


async def test_a_call_that_gets_no_connection_in_time_says_so(upstream: Upstream, provider_at: ProviderAt) -> None:
    provider = provider_at(upstream.base_url, max_concurrency=1)
    first = asyncio.create_task(provider.call(call_of(model="mode=hang")))
    await eventually(lambda: busy_connections(provider) == 1)
    error = await failure_of(provider, call_of(seconds=0.1))
    assert (error.status_code, error.error_type, error.retryable) == (503, "provider_overloaded", True)
    first.cancel()
    assert (await provider.call(call_of(seconds=2))).body


async def test_the_time_of_a_call_begins_with_the_call_and_waiting_for_it_counts_as_none(
    upstream: Upstream, provider_at: ProviderAt
) -> None:
    provider = provider_at(upstream.base_url, max_concurrency=1)
    calls = Calls()

    async def wait() -> None:
        CALLS.set(calls)
        await calls.begin()
        await provider.call(call_of(model="latency=1000", seconds=1.8))

    first = asyncio.create_task(provider.call(call_of(model="latency=1000", seconds=1.8)))
    await eventually(provider.transport._slots.locked)
    second = asyncio.create_task(wait())
    await eventually(lambda: provider.transport._slots._waiters)
    assert calls.begun == 0
    await first
    await second
    assert calls.begun == 1


class BlackHole:
    """A port that takes no connection: its queue is full, so the system drops what asks for one."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=1)
        self.port: int = self.listening.getsockname()[1]
        self.waiting = [socket.socket() for _ in range(8)]
        for client in self.waiting:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", self.port))

    def close(self) -> None:
        for client in [*self.waiting, self.listening]:
            client.close()


@pytest.fixture
def black_hole() -> Any:
    hole = BlackHole()
    yield hole
    hole.close()


async def test_no_connection_in_time_is_told_from_no_answer(black_hole: BlackHole, provider_at: ProviderAt) -> None:
    provider = provider_at(black_hole.port, connect_timeout_seconds=0.2)
    error = await failure_of(provider)
    assert (error.status_code, error.error_type, error.retryable) == (504, "provider_connection_failed", True)
    assert error.message == "no connection to the provider within 0.2 s"


async def test_cancelling_while_connecting_leaks_no_slot(
    black_hole: BlackHole, upstream: Upstream, provider_at: ProviderAt
) -> None:
    provider = provider_at(black_hole.port, max_concurrency=2, connect_timeout_seconds=30)
    for _ in range(10):
        calls = [asyncio.create_task(provider.call(call_of(seconds=30))) for _ in range(4)]
        await eventually(lambda: busy_connections(provider) == 2)  # both slots are connecting
        for call in calls:
            call.cancel()
        assert all(
            isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*calls, return_exceptions=True)
        )
        assert busy_connections(provider) == 0
    provider._urls = {kind: httpx.URL(f"{upstream.base_url}/chat/completions") for kind in provider._urls}
    await asyncio.gather(*(provider.call(call_of(seconds=5)) for _ in range(4)))


async def test_cancelling_anywhere_leaks_no_slot(upstream: Upstream, provider_at: ProviderAt) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    provider = provider_at(upstream.base_url, max_concurrency=4)
    models = ["m", "latency=2", "mode=drip", "mode=hang", "mode=huge", "status=500", "mode=reset"]

    async def one() -> None:
        task = asyncio.create_task(provider.call(call_of(model=draw.choice(models), seconds=draw.uniform(0.001, 0.05))))
        for _ in range(draw.randrange(30)):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    for _ in range(25):
        await asyncio.gather(*(one() for _ in range(10)))
    await asyncio.gather(*(provider.call(call_of(seconds=5)) for _ in range(8)))
    assert busy_connections(provider) == 0


async def test_nobody_listening_is_a_connection_failure(provider_at: ProviderAt) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    provider = provider_at(port)
    error = await failure_of(provider)
    assert (error.status_code, error.error_type, error.retryable) == (502, "provider_connection_failed", True)
    assert error.message == f"connection to the provider failed: 127.0.0.1:{port}: Connection refused"


async def test_an_answer_that_is_no_http_is_a_connection_failure(provider_at: ProviderAt) -> None:
    async with canned(b"SSH-2.0-OpenSSH\r\n\r\n") as server:
        provider = provider_at(server.port)
        error = await failure_of(provider)
        assert (error.status_code, error.error_type) == (502, "provider_connection_failed")


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


async def test_what_goes_over_the_wire(provider_at: ProviderAt) -> None:
    async with canned(http(CHAT, "x-request-id: req-7")) as server:
        provider = provider_at(server.port, api_key=KEY, headers={"X-Org": "mine"})
        forward = {"openai-project": "p1", "authorization": "Bearer evil", "host": "evil", "content-length": "1"}
        answer = await provider.call(call_of(forward=forward))
        ((head, body),) = server.requests
        lines = head.decode().lower().split("\r\n")
        assert lines[0] == "post /v1/chat/completions http/1.1"
        assert lines.count(f"authorization: bearer {KEY}") == 1
        assert lines.count(f"host: 127.0.0.1:{server.port}") == 1
        assert lines.count(f"content-length: {len(body)}") == 1
        assert {"x-org: mine", "openai-project: p1", "content-type: application/json"} <= set(lines)
        assert "evil" not in head.decode()
        assert "job-1" not in head.decode()
        assert b"expect" not in head.lower()
        assert answer.upstream_request_id == "req-7"


async def test_a_client_cannot_break_into_the_head_of_a_request(provider_at: ProviderAt) -> None:
    async with canned(http(CHAT)) as server:
        provider = provider_at(server.port)
        await provider.call(call_of(forward={"x-a": "1\r\nx-evil: 1", "x-b\r\nx-evil": "1", "x-c": "é", "": "1"}))
        assert b"evil" not in server.requests[0][0]


@pytest.mark.parametrize("request_type", sorted(FORM_PARTS))
async def test_uploads_reach_the_provider_byte_for_byte(request_type: str, provider_at: ProviderAt) -> None:
    answer = b'{"text":"t"}' if request_type == "transcription" else b'{"data":[]}'
    async with canned(http(answer)) as server:
        provider = provider_at(server.port)
        await provider.call(call_of(request_type, "whisper"))
        ((head, body),) = server.requests
        content_type = next(
            line[14:] for line in head.decode().split("\r\n") if line.lower().startswith("content-type")
        )
        parts = parse_form(body, content_type).parts
        assert parts[1:] == FORM_PARTS[request_type]
        assert parts[0].data == b"whisper"


@pytest.mark.parametrize("endpoint", CATALOGUE, ids=lambda endpoint: endpoint.request_type)
async def test_every_type_has_its_path_unless_configured_otherwise(endpoint: Any, provider_at: ProviderAt) -> None:
    async with canned(http(b"", status="404 No")) as server:
        elsewhere = {endpoint.request_type: "/other/path"}
        for paths, expected in (({}, f"/v1{endpoint.upstream_path}"), (elsewhere, "/v1/other/path")):
            provider = provider_at(server.port, paths=paths)
            await failure_of(provider, call_of(endpoint.request_type))
            assert server.requests[-1][0].startswith(f"POST {expected} HTTP/1.1\r\n".encode())


def test_a_whole_url_may_stand_for_a_path(provider_at: ProviderAt) -> None:
    provider = provider_at(1, paths={"rerank": "https://elsewhere/v2/rerank"})
    assert str(provider._urls["rerank"]) == "https://elsewhere/v2/rerank"


async def test_connections_are_kept_alive_through_quiet_calls() -> None:
    with make_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1))) as made:
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


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
