"""Answers that no proper server gives, on raw sockets: none hangs a call, none gets into the answer of another."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest

from shared.providers import configured
from workers.providers import connection, connections
from workers.providers.base import ProviderError
from workers.providers.transport import Reply, Transport

SECONDS = 20.0
HEAD = b"HTTP/1.1 200 OK\r\n"
ANSWER = HEAD + b"content-length: 2\r\n\r\nok"

Serve = Callable[["Line"], Awaitable[None]]


class Line:
    """The server's end of one connection, number `number` of all."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer

    async def request(self) -> bytes:
        """The next request's head; its body is read too."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                await self.reader.readexactly(int(line.partition(b":")[2]))
        return head

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def flood(self, piece: bytes) -> None:
        """Say it until the other end hangs up."""
        while True:
            await self.say(piece)

    async def hung_up(self) -> None:
        """Return when the other end has closed."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass


@dataclass
class Raw:
    """A server on a raw socket, and a transport to it."""

    url: httpx.URL
    transport: Transport
    connections: int = 0
    finished: int = 0
    """Connections whose `serve` has come to its end."""

    async def call(self, method: str = "POST", content: bytes = b"{}", seconds: float = SECONDS) -> Reply:
        return await self.transport.send(method, self.url, [("x-a", "b")], content, seconds)

    async def failure(self, seconds: float = SECONDS) -> ProviderError:
        with pytest.raises(ProviderError) as caught:
            await self.call(seconds=seconds)
        return caught.value


@asynccontextmanager
async def raw(serve: Serve, max_body_bytes: int = 1 << 20) -> AsyncIterator[Raw]:
    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.connections += 1
        try:
            await serve(Line(running.connections, reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            running.finished += 1
            writer.close()

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    config = configured({"up": {"base_url": f"http://127.0.0.1:{port}/v1"}}, {})["up"]
    running = Raw(httpx.URL(f"{config.base_url}/x"), Transport(config, max_body_bytes=max_body_bytes))
    try:
        yield running
    finally:
        await running.transport.close()
        server.close()
        await until(lambda: running.finished == running.connections)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not holds():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        HEAD + b"content-type: text/plain\r\n",
        HEAD + b"content-length: 10\r\n\r\nfive",
        HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nhel",
    ],
)
async def test_an_answer_that_is_cut_off_is_a_failed_connection(answer: bytes) -> None:
    async def serve(line: Line) -> None:
        await line.request()
        await line.say(answer if line.number == 1 else ANSWER)

    async with raw(serve) as server:
        error = await server.failure()
        assert (error.status_code, error.error_type, error.retryable) == (502, "provider_connection_failed", True)
        assert (await server.call()).body == b"ok"


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        HEAD + b"content-length: -1\r\n\r\n",
        HEAD + b"content-length: 2\r\ncontent-length: 3\r\n\r\nabc",
        HEAD + b"transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\nabc",
        HEAD + b"transfer-encoding: chunked\r\n\r\nxyz\r\n",
        HEAD + b"x\0y: 1\r\n\r\n",
        HEAD + b" folded: 1\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        b"HTTP/1.1 099 Odd\r\n\r\n" + b"x" * 100_000,
    ],
)
async def test_an_answer_that_is_no_http_is_a_failed_connection(answer: bytes) -> None:
    async def serve(line: Line) -> None:
        await line.request()
        await line.say(answer)
        await line.hung_up()

    async with raw(serve) as server:
        error = await server.failure()
        assert (error.status_code, error.error_type, error.retryable) == (502, "provider_connection_failed", True)


CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (HEAD, b"x-a: " + b"b" * 1000 + b"\r\n"),
        (HEAD + b"x-a: ", b"b" * 1000),
        (HEAD, b"b" * 1000),
        (b"HTTP/1.1 200 ", b"O" * 1000),
        (b"", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"),
        (CHUNKED + b"1;", b"e" * 1000),
        (CHUNKED + b"1\r\nx\r\n0\r\n", b"x-trailer: 1\r\n"),
        (CHUNKED + b"1\r\nx\r\n0\r\nx-trailer: ", b"y" * 1000),
    ],
)
async def test_a_flood_beside_the_body_is_not_read_to_its_end(start: bytes, piece: bytes) -> None:
    async def serve(line: Line) -> None:
        await line.request()
        await line.say(start)
        await line.flood(piece)

    async with raw(serve) as server:
        assert (await server.failure()).error_type == "provider_connection_failed"
        await until(lambda: server.finished == 1)


async def test_a_body_in_the_smallest_chunks_is_no_flood() -> None:
    async def serve(line: Line) -> None:
        await line.request()
        await line.say(CHUNKED + b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n")

    async with raw(serve) as server:
        assert (await server.call()).body == b"x" * 100_000


async def test_interim_answers_are_passed_over() -> None:
    async def serve(line: Line) -> None:
        await line.request()
        await line.say(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + ANSWER)

    async with raw(serve) as server:
        reply = await server.call()
        assert (reply.status, reply.body, reply.headers) == (200, b"ok", {"content-length": "2"})


async def test_an_answer_may_come_in_any_pieces() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    whole = b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"X-A: b\r\nTransfer-Encoding: chunked\r\n\r\n"
    whole += b"5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nx-trailer: 1\r\n\r\n"

    async def serve(line: Line) -> None:
        while True:
            await line.request()
            cuts = sorted(draw.sample(range(1, len(whole)), draw.randrange(1, 12)))
            for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
                await line.say(whole[start:end])
                await asyncio.sleep(0)

    async with raw(serve) as server:
        for _ in range(60):
            reply = await server.call()
            assert (reply.body, reply.headers) == (b"hello world", {"x-a": "b", "transfer-encoding": "chunked"})
        assert server.connections == 1


async def test_a_head_that_drips_in_ends_with_the_time_of_the_call() -> None:
    async def serve(line: Line) -> None:
        await line.request()
        for byte in HEAD + b"x-a: " + b"b" * 1000:
            await line.say(bytes([byte]))
            await asyncio.sleep(0.01)

    async with raw(serve) as server:
        assert (await server.failure(seconds=0.3)).status_code == 504
        await until(lambda: server.finished == 1)


async def test_a_body_may_end_with_the_connection() -> None:
    async def serve(line: Line) -> None:
        await line.request()
        await line.say(HEAD + b"\r\nhello")
        await asyncio.sleep(0.01)
        await line.say(b" world")

    async with raw(serve) as server:
        assert (await server.call()).body == b"hello world"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        HEAD + b"connection: close\r\ncontent-length: 2\r\n\r\nok",
        ANSWER + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        ANSWER + b"evil",
    ],
)
async def test_a_connection_with_a_doubtful_end_is_not_used_again(answer: bytes) -> None:
    async def serve(line: Line) -> None:
        await line.request()
        await line.say(answer)
        await line.hung_up()

    async with raw(serve) as server:
        for number in (1, 2, 3):
            assert (await server.call()).body == b"ok"
            assert server.connections == number


async def test_what_comes_unasked_closes_the_connection_and_is_no_answer() -> None:
    said = asyncio.Event()

    async def serve(line: Line) -> None:
        await line.request()
        await line.say(ANSWER)
        await said.wait()
        await line.say(HEAD + b"content-length: 4\r\n\r\nevil")
        await line.hung_up()

    async with raw(serve) as server:
        assert (await server.call()).body == b"ok"
        said.set()
        await until(lambda: server.finished == 1)
        assert (await server.call()).body == b"ok"


async def test_trailers_stay_out_of_the_next_answer() -> None:
    async def serve(line: Line) -> None:
        await line.request()
        await line.say(CHUNKED + b"2\r\nok\r\n0\r\nx-request-id: evil\r\n\r\n")
        await line.request()
        await line.say(ANSWER)

    async with raw(serve) as server:
        await server.call()
        assert (await server.call()).headers == {"content-length": "2"}
        assert server.connections == 1


async def test_a_kept_connection_that_was_closed_meanwhile_is_not_used() -> None:
    async def serve(line: Line) -> None:
        await line.request()
        await line.say(ANSWER)

    async with raw(serve) as server:
        assert (await server.call()).body == b"ok"
        await until(lambda: server.finished == 1)
        http = server.transport.http
        (idle,) = [each for line in http.connections._idle.values() for each in line]  # type: ignore[attr-defined]
        await until(lambda: not idle.reusable)
        assert (await server.call()).body == b"ok"


@pytest.mark.parametrize(("method", "requests"), [("POST", 2), ("GET", 3)])
async def test_only_what_may_be_made_twice_is_sent_again_when_a_kept_connection_breaks(
    method: str, requests: int
) -> None:
    asked = 0

    async def serve(line: Line) -> None:
        nonlocal asked
        await line.request()
        asked += 1
        await line.say(ANSWER)
        if line.number == 1:
            await line.request()
            asked += 1  # and hang up without a word

    async with raw(serve) as server:
        await server.call(method, b"")
        if method == "POST":
            assert (await server.failure()).retryable
        else:
            assert (await server.call(method, b"")).body == b"ok"
        assert asked == requests


async def test_a_request_whose_answer_began_is_never_sent_again() -> None:
    asked = 0

    async def serve(line: Line) -> None:
        nonlocal asked
        while True:
            await line.request()
            asked += 1
            await line.say(ANSWER if asked == 1 else HEAD)
            if asked == 2:
                return

    async with raw(serve) as server:
        await server.call("GET", b"")
        with pytest.raises(ProviderError):
            await server.call("GET", b"")
        assert asked == 2


async def test_a_new_connection_that_breaks_is_not_tried_again() -> None:
    async def serve(line: Line) -> None:
        await line.request()

    async with raw(serve) as server:
        with pytest.raises(ProviderError):
            await server.call("GET", b"")
        assert server.connections == 1


async def test_an_answer_before_the_end_of_the_upload_counts_and_ends_the_connection() -> None:
    async def serve(line: Line) -> None:
        await line.reader.readuntil(b"\r\n\r\n")
        await line.say(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
        await line.hung_up()

    async with raw(serve) as server:
        reply = await server.call(content=b"x" * (32 << 20))
        assert (reply.status, reply.body) == (413, b"no")
        await until(lambda: server.finished == 1)


async def test_cancelling_in_the_middle_of_an_answer_closes_the_connection() -> None:
    began = asyncio.Event()

    async def serve(line: Line) -> None:
        await line.request()
        await line.say(HEAD + b"content-length: 100\r\n\r\nsome")
        began.set()
        await line.hung_up()

    async with raw(serve) as server:
        call = asyncio.create_task(server.call())
        await began.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await until(lambda: server.finished == 1)


async def test_idle_connections_are_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "KEEPALIVE_SECONDS", 0.05)

    async def serve(line: Line) -> None:
        while True:
            await line.request()
            await line.say(ANSWER)

    async with raw(serve) as server:
        await asyncio.gather(*(server.call() for _ in range(5)))
        await until(lambda: server.finished == server.connections)
        assert (await server.call()).body == b"ok"


async def test_a_body_that_nobody_reads_is_not_fetched_ahead_without_end() -> None:
    async def serve(line: Line) -> None:
        await line.request()
        await line.say(HEAD + b"content-length: 100000000\r\n\r\n" + b"x" * (32 << 20))

    async with raw(serve) as server:
        request = httpx.Request("POST", server.url, content=b"{}")
        response = await server.transport.http.handle_async_request(request)
        (lent,) = server.transport.http.connections._lent  # type: ignore[attr-defined]
        await until(lambda: lent._halted)
        assert lent._unread <= 2 * connection._READ_AHEAD_BYTES
        await response.aclose()
        await until(lambda: server.finished == 1)


async def test_a_line_break_in_a_header_never_leaves() -> None:
    async def serve(line: Line) -> None:
        await line.request()
        raise AssertionError("it left")

    async with raw(serve) as server:
        for name, value in (("x-a", "1\r\nx-evil: 1"), ("x-b", "1\nx-evil: 1"), ("x-c\r\nx-evil", "1"), ("x-d", "\0")):
            with pytest.raises(ValueError, match="line break"):
                await server.transport.send("POST", server.url, [(name, value)], b"", SECONDS)
        assert server.connections == 0
