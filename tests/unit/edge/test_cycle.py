"""What a request's answer looks like on the wire, without a server: a transport that remembers what was written."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from uvicorn.protocols.http.flow_control import FlowControl

from edge.cycle import JOINED_BYTES, RequestCycle, Signal

DATE = (b"date", b"Sun, 26 Jul 2026 10:00:00 GMT")


class Wire:
    """A connection and its transport in one."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False
        self.completed = 0
        self.transport = self
        self.flow = FlowControl(cast("asyncio.Transport", self))
        self.logger = self.server_state = self
        self.tasks: set[object] = set()
        self.default_headers = [DATE]
        self.expect_100_continue = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def on_response_complete(self) -> None:
        self.completed += 1


def begun(wire: Wire, *, method: str = "GET", keep_alive: bool = True) -> RequestCycle:
    return RequestCycle(cast("Any", wire), cast("Any", {"method": method}), keep_alive=keep_alive)


async def answer(cycle: RequestCycle, *pieces: bytes, headers: Any = (), status: int = 200) -> None:
    await cycle.send({"type": "http.response.start", "status": status, "headers": headers})
    for number, piece in enumerate(pieces, 1):
        await cycle.send({"type": "http.response.body", "body": piece, "more_body": number < len(pieces)})


async def test_head_and_body_leave_in_one_write() -> None:
    wire = Wire()
    await answer(begun(wire), b"{}", headers=[(b"content-length", b"2")])
    assert wire.written == [b"HTTP/1.1 200 OK\r\n" + b": ".join(DATE) + b"\r\ncontent-length: 2\r\n\r\n{}"]
    assert (wire.completed, wire.closed) == (1, False)


async def test_a_large_body_is_not_copied_behind_its_head() -> None:
    wire, body = Wire(), b"x" * (JOINED_BYTES + 1)
    await answer(begun(wire), body, headers=[(b"content-length", str(len(body)).encode())])
    assert len(wire.written) == 2
    assert wire.written[1] is body


async def test_a_body_of_unknown_length_is_chunked() -> None:
    wire = Wire()
    await answer(begun(wire), b"abc", b"", b"d")
    head, body = b"".join(wire.written).split(b"\r\n\r\n", 1)
    assert b"transfer-encoding: chunked" in head
    assert body == b"3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"


async def test_an_answer_to_head_has_the_length_and_no_body() -> None:
    wire = Wire()
    await answer(begun(wire, method="HEAD"), b"", headers=[(b"content-length", b"99")])
    assert b"".join(wire.written).endswith(b"content-length: 99\r\n\r\n")
    assert wire.completed == 1


@pytest.mark.parametrize("said", [True, False], ids=["by the application", "by the connection"])
async def test_an_answer_that_ends_the_connection_says_so_once(said: bool) -> None:
    wire = Wire()
    headers = [(b"content-length", b"0"), *([(b"connection", b"close")] if said else [])]
    await answer(begun(wire, keep_alive=said), b"", headers=headers)
    assert b"".join(wire.written).count(b"connection: close\r\n") == 1
    assert wire.closed


@pytest.mark.parametrize("bad", [b"a\r\nset-cookie: b", b"a\nb", b"a\x00b", b"\x7f", b"a\r"])
async def test_no_header_can_forge_another_line(bad: bytes) -> None:
    wire = Wire()
    with pytest.raises(RuntimeError, match="control character"):
        await answer(begun(wire), b"", headers=[(b"content-length", b"0"), (b"x-request-id", bad)])
    assert wire.written == []


@pytest.mark.parametrize("body", [b"abc", b"a"], ids=["longer", "shorter"])
async def test_a_body_of_another_length_than_declared_is_an_error(body: bytes) -> None:
    with pytest.raises(RuntimeError, match="than its Content-Length"):
        await answer(begun(Wire()), body, headers=[(b"content-length", b"2")])


async def test_events_at_the_wrong_time_are_errors() -> None:
    cycle = begun(Wire())
    with pytest.raises(RuntimeError, match="wrong time"):
        await cycle.send({"type": "http.response.body", "body": b"early"})
    await answer(cycle, b"", headers=[(b"content-length", b"0")])
    with pytest.raises(RuntimeError, match="wrong time"):
        await cycle.send({"type": "http.response.body", "body": b"late"})


async def test_a_signal_wakes_who_waits_and_lets_the_next_one_pass() -> None:
    signal = Signal()
    waiting = asyncio.create_task(signal.wait())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="one waiter"):
        await signal.wait()
    signal.set()
    assert await waiting
    assert await signal.wait()


async def test_a_cancelled_waiter_leaves_his_place() -> None:
    signal = Signal()
    waiting = asyncio.create_task(signal.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    second = asyncio.create_task(signal.wait())
    await asyncio.sleep(0)
    signal.set()
    assert await second
