"""Answers that no proper server gives, on raw sockets: none hangs a call, none gets into the answer of another."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.support.servers.raw_provider import ANSWER, CHUNKED, HEAD, Line, raw, until


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
