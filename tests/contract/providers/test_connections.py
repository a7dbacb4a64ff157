"""Which connection carries a call, on raw sockets: none is used again after a doubtful end, none is left open."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.support.servers.raw_provider import ANSWER, CHUNKED, HEAD, SECONDS, Line, raw, until
from workers.provider_interface import ProviderError
from workers.providers.transport import connection, direct


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
    monkeypatch.setattr(direct, "KEEPALIVE_SECONDS", 0.05)

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
