"""Generated answers on raw sockets: whole, cut, broken or damaged, in any pieces, several on one connection.

Whatever comes, a call gives exactly its own answer or an error in time, and no connection carries another call after
an answer that was not whole.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import h11
import pytest
import uvloop
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

from tests.support.servers.raw_provider import ANSWER, CHUNKED, HEAD, SECONDS, Line, Raw, raw, until
from workers.provider_interface import ProviderError
from workers.providers.transport import direct
from workers.providers.transport.direct import DirectTransport
from workers.providers.transport.exchange import MAX_ERROR_BODY_BYTES, Reply

NO_BODY = (204, 304)
SHORT_SECONDS = 0.02
LATE_SECONDS = 15.0
"""A call that is not over by then hangs: the machine is busy at times, never for so long."""
Loop = Callable[[], asyncio.AbstractEventLoop]
LOOPS: st.SearchStrategy[Loop] = st.sampled_from([asyncio.new_event_loop, uvloop.new_event_loop])
EXAMPLES = how(
    max_examples=min(60, how().max_examples),  # the quick profile has fewer
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module", autouse=True)
def _patience() -> Iterator[None]:
    """Connections are kept for as long as a test takes, however busy the machine is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(direct, "KEEPALIVE_SECONDS", 600.0)
        yield


@dataclass(frozen=True)
class Answer:
    """What a server says to one request, and what the caller must get for it."""

    wire: bytes
    head: int  # bytes of the wire before the body
    status: int
    body: bytes
    kept: bool  # whether another request may follow on the connection
    ends: bool  # whether only the end of the connection ends the body
    zipped: bool


@dataclass(frozen=True)
class Exchange:
    """The bytes of a server, how it goes on after them, and what the call must come to."""

    pieces: tuple[bytes, ...]
    then: str  # `next` request, `close`, `reset`, or `silence`
    reply: tuple[int, bytes] | None  # none: the call fails
    kept: bool


# Answers as a server makes them

BODIES = st.binary(max_size=200) | st.builds(bytes.__mul__, st.binary(min_size=1, max_size=9), st.integers(1, 20_000))
TOKENS = st.text("abcXYZ019-_", min_size=1, max_size=12)
VALUES = st.text("abc XYZ019,;=\"'\\\t\xe9", max_size=30).map(str.strip)
HEADERS = st.lists(st.builds("X-{}: {}".format, TOKENS, VALUES), max_size=3)
HINTS = st.builds(
    lambda status, fields: head_of(f"HTTP/1.1 {status} ", fields), st.sampled_from([100, 102, 199]), HEADERS
)
INTERIM = st.lists(HINTS, max_size=2).map(b"".join)
STATUSES = st.sampled_from([200, 200, 200, 201, 202, 204, 301, 304, 400, 404, 429, 500, 503, 599])


def head_of(first: str, fields: list[str]) -> bytes:
    return "".join(f"{line}\r\n" for line in [first, *filter(None, fields), ""]).encode("latin-1")


@st.composite
def chunks(draw: st.DrawFn, body: bytes) -> bytes:
    """The body in chunks, with extensions and trailers."""
    wire = b""
    for piece in draw(pieces_of(body)):
        size = f"{len(piece):{draw(st.sampled_from(['x', 'X', '05x']))}}"
        size += draw(st.sampled_from(["", ";a", ";a=b", ';a="b c"']))
        wire += size.encode() + b"\r\n" + piece + b"\r\n"
    return wire + head_of("0", draw(HEADERS))


@st.composite
def pieces_of(draw: st.DrawFn, data: bytes) -> tuple[bytes, ...]:
    """The data cut at any places, no piece empty."""
    if len(data) < 2:
        return (data,) if data else ()
    cuts = sorted(draw(st.sets(st.integers(1, len(data) - 1), max_size=8)))
    return tuple(data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True))


@st.composite
def answers(draw: st.DrawFn, *, zips: bool = False) -> Answer:
    status, version = draw(STATUSES), draw(st.sampled_from(["1.1", "1.1", "1.0"]))
    body = b"" if status in NO_BODY else draw(BODIES)[: MAX_ERROR_BODY_BYTES if status >= 400 else None]
    is_zipped = zips and bool(body) and draw(st.booleans())
    sent = gzip.compress(body, mtime=0) if is_zipped else body
    ways = ["length", "close", *(["chunked"] if version == "1.1" else [])]
    framing = "none" if status in NO_BODY else draw(st.sampled_from(ways))
    connection = draw(st.sampled_from(["", "", "Connection: close", "connection: keep-alive"]))
    framed = {"length": f"Content-Length: {len(sent)}", "chunked": "Transfer-Encoding: chunked"}.get(framing, "")
    unzip = "content-encoding: gzip" if is_zipped else ""
    fields = draw(st.permutations([framed, connection, unzip, *draw(HEADERS)]))
    reason = draw(st.sampled_from(["", " ", " OK", " No such \xe9"]))
    head = draw(INTERIM) + head_of(f"HTTP/{version} {status}{reason}", fields)
    wire = head + (draw(chunks(sent)) if framing == "chunked" else sent)
    persistent = connection.endswith("keep-alive") or (version == "1.1" and not connection)
    kept = persistent and framing != "close"
    return Answer(wire, len(head), status, body, kept, framing == "close", is_zipped)


@st.composite
def whole(draw: st.DrawFn) -> Exchange:
    """A whole answer. Where nothing else ends it the server closes, else it waits, be it for what must not come."""
    answer = draw(answers(zips=True))
    then = "close" if answer.ends else "next"
    return Exchange(draw(pieces_of(answer.wire)), then, (answer.status, answer.body), answer.kept)


# Answers that are not whole


def expected_of_cut(answer: Answer, said: bytes, then: str) -> tuple[int, bytes] | None:
    """What may come of the beginning of an answer: never a part of a body as if it were all of it.

    Of an error whose body is cut the status alone is told. A body that ends with its connection has no other end.
    """
    if then == "silence" or len(said) < answer.head:
        return None
    if answer.ends and then == "close" and not answer.zipped:
        return answer.status, said[answer.head :]
    return (answer.status, b"") if answer.status >= 400 else None


@st.composite
def cut(draw: st.DrawFn, then: str) -> Exchange:
    """The beginning of an answer, and then nothing more."""
    answer = draw(answers(zips=True).filter(lambda each: not (each.zipped and each.status >= 400)))
    said = answer.wire[: draw(st.integers(0, len(answer.wire) - 1))]
    return Exchange(draw(pieces_of(said)), then, expected_of_cut(answer, said, then), False)


NOT_HTTP = [
    *(HEAD.replace(b"200", status) for status in (b"20", b"2000", b"abc", b"-1", b" 200", b"")),
    *(HEAD.replace(b"HTTP/1.1", version) for version in (b"HTTP/2", b"HTTP/1.9", b"http/1.1", b" HTTP/1.1", b"ICY")),
]
BAD_FIELDS = [b"a b: 1", b"a\0: 1", b"none", b": 1", b"a: b\rc", b"a: \0", b"a: b\nc: d", b" folded: 1", b"a : 1"]
BAD_LENGTHS = [b"", b"+2", b"-1", b"0x2", b"2, 2", b"2 2", b"2.0", b"9" * 25, b"2\r\ncontent-length: 3"]
BAD_LENGTHS += [b"2\r\ncontent-length: 2", b"2\r\ntransfer-encoding: chunked"]
BAD_CHUNKS = [b"g\r\n", b"-2\r\n", b" 2\r\n", b"2 \r\n", b"0x2\r\n", b"\r\n", b"2\nok\n", b"2\r\nok0\r\n\r\n"]
BAD_CHUNKS += [b"3\r\nok\r\n0\r\n\r\n", b"1\r\nok\r\n", b"f" * 17 + b"\r\n", b"2;\0\r\n", b"0\r\nno trailer\r\n\r\n"]
MALFORMED = st.one_of(
    st.sampled_from(NOT_HTTP).map(lambda start: start + b"content-length: 2\r\n\r\nok"),
    st.sampled_from(BAD_FIELDS).map(lambda field: HEAD + field + b"\r\ncontent-length: 2\r\n\r\nok"),
    st.sampled_from(BAD_LENGTHS).map(lambda length: HEAD + b"content-length: " + length + b"\r\n\r\nok"),
    st.tuples(st.just(CHUNKED), st.sampled_from([b"", b"1;a\r\nx\r\n"]), st.sampled_from(BAD_CHUNKS)).map(b"".join),
)


@st.composite
def malformed(draw: st.DrawFn) -> Exchange:
    """No HTTP. The server does not hang up, so it is for the caller to see it."""
    said = draw(INTERIM) + draw(MALFORMED)
    return Exchange(draw(pieces_of(said)), "next", None, False)


@st.composite
def with_junk(draw: st.DrawFn) -> Exchange:
    """A whole answer, and in one packet with its last byte what nobody asked for."""
    answer = draw(answers().filter(lambda each: not each.ends))
    junk = draw(st.sampled_from([ANSWER, b"evil", b"\0", b"H", b"0\r\n\r\n"]) | st.binary(min_size=1, max_size=50))
    if not junk.strip(b"\r\n"):  # empty lines between answers are allowed
        junk += b"x"
    *before, last = draw(pieces_of(answer.wire))
    return Exchange((*before, last + junk), "next", (answer.status, answer.body), False)


# A pool of connections against them


class Server:
    """Answers each request with the exchange that its number names, and notes on which connection it came."""

    def __init__(self, exchanges: list[Exchange]) -> None:
        self.exchanges = exchanges
        self.lines: dict[int, int] = {}

    async def __call__(self, line: Line) -> None:
        then = "next"
        while then == "next":
            head = await line.request()
            number = int(head.partition(b"x-number: ")[2].partition(b"\r")[0])
            self.lines[number] = line.number
            then = self.exchanges[number].then
            for piece in self.exchanges[number].pieces:
                await line.say(piece)
                await asyncio.sleep(0)
        if then == "reset":
            sock: socket.socket = line.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            line.writer.transport.abort()
        elif then == "silence":
            await line.hung_up()


def check(outcome: Reply | ProviderError, exchange: Exchange) -> None:
    if exchange.reply is not None:
        assert isinstance(outcome, Reply)
        assert (outcome.status, outcome.body) == exchange.reply
        return
    assert isinstance(outcome, ProviderError)
    assert outcome.retryable
    if exchange.then == "silence":
        assert (outcome.status_code, outcome.error_type) == (504, "provider_timeout")
    else:  # a zip that ends too early is no broken connection where only the connection's end ends it
        assert outcome.status_code == 502
        assert outcome.error_type in ("provider_connection_failed", "provider_server_error")


def kept_connections(provider: Raw) -> int:
    assert isinstance(provider.transport.http, DirectTransport)
    return sum(each.reusable for idle in provider.transport.http.connections._idle.values() for each in idle)


async def outcomes(exchanges: list[Exchange], server: Server) -> list[Reply | ProviderError]:
    """What the calls come to, one after the other over one pool, each in its time."""
    found: list[Reply | ProviderError] = []
    async with raw(server) as provider:
        for number, exchange in enumerate(exchanges):
            seconds = SHORT_SECONDS if exchange.then == "silence" else SECONDS
            began = time.monotonic()
            try:
                found.append(
                    await provider.transport.send("POST", provider.url, [("x-number", f"{number}")], b"", seconds)
                )
            except ProviderError as error:
                found.append(error)
            assert time.monotonic() - began < LATE_SECONDS
            if exchange.then == "close":  # a kept connection that closes under the next request breaks it, rightly
                await until(lambda: not kept_connections(provider))
    return found


def hold(loop: Loop, exchanges: list[Exchange]) -> None:
    """Every call gets its own, and goes over the connection of the one before it if that was kept, else a new one."""
    exchanges = [*exchanges, Exchange((ANSWER,), "next", (200, b"ok"), True)]
    server = Server(exchanges)
    with asyncio.Runner(loop_factory=loop) as runner:
        found = runner.run(outcomes(exchanges, server))
    for outcome, exchange in zip(found, exchanges, strict=True):
        check(outcome, exchange)
    for number, exchange in enumerate(exchanges[:-1]):
        if {number, number + 1} <= server.lines.keys():  # a call may be over before its request has come
            assert (server.lines[number] == server.lines[number + 1]) == exchange.kept


@EXAMPLES
@given(LOOPS, st.lists(whole(), min_size=1, max_size=3))
def test_whole_answers_in_any_pieces_are_told_exactly(loop: Loop, exchanges: list[Exchange]) -> None:
    hold(loop, exchanges)


@EXAMPLES
@given(LOOPS, st.lists(whole(), max_size=1), st.sampled_from(["close", "reset", "silence"]).flatmap(cut))
def test_a_cut_answer_is_a_failure_in_time_and_never_a_part_of_it(
    loop: Loop, before: list[Exchange], end: Exchange
) -> None:
    hold(loop, [*before, end])


@EXAMPLES
@given(LOOPS, st.lists(whole(), max_size=1), malformed())
def test_what_is_no_http_is_a_failure_though_nobody_hangs_up(loop: Loop, before: list[Exchange], end: Exchange) -> None:
    hold(loop, [*before, end])


@EXAMPLES
@given(LOOPS, st.lists(with_junk(), min_size=1, max_size=3))
def test_what_follows_an_answer_unasked_is_in_no_other_answer(loop: Loop, exchanges: list[Exchange]) -> None:
    hold(loop, exchanges)


# Damaged answers: another parser tells what they say


def by_h11(wire: bytes) -> tuple[int, bytes] | str:
    """The answer in these bytes, or `refused` where they are no HTTP, or `cut` where they are only the beginning."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="POST", target="/", headers=[("host", "x"), ("content-length", "0")]))
    client.send(h11.EndOfMessage())
    status, body, said = 0, b"", "refused"
    try:
        for data in (wire, b""):
            client.receive_data(data)
            while (event := client.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                if isinstance(event, h11.Response):
                    status = event.status_code
                elif isinstance(event, h11.Data):
                    body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    return status, body
            said = "cut"
    except h11.RemoteProtocolError:
        pass
    return said


@st.composite
def damaged(draw: st.DrawFn) -> Exchange:
    """A small answer with bytes replaced, left out or put in, and the end of the connection. What it says is open."""
    wire = bytearray(draw(answers()).wire[:2000])
    for _ in range(draw(st.integers(1, 3))):
        at, size = draw(st.integers(0, len(wire))), draw(st.integers(0, 2))
        wire[at : at + size] = draw(st.sampled_from([b"", b"\r", b"\n", b"\r\n", b"\0", b" ", b"0", b"9", b":"]))
    return Exchange(draw(pieces_of(bytes(wire))), "close", None, False)


@EXAMPLES
@given(LOOPS, damaged())
def test_a_damaged_answer_says_what_another_parser_reads_or_nothing(loop: Loop, exchange: Exchange) -> None:
    exchanges = [exchange, Exchange((ANSWER,), "next", (200, b"ok"), True)]
    with asyncio.Runner(loop_factory=loop) as runner:
        found, after = runner.run(outcomes(exchanges, Server(exchanges)))
    check(after, exchanges[1])
    if isinstance(found, ProviderError):
        check(found, exchange)
        return
    said = by_h11(b"".join(exchange.pieces))
    if said == "cut":
        assert (found.status >= 400, found.body) == (True, b"")
    elif said != "refused":
        assert (found.status, found.body) in (said, (said[0], b"" if found.status >= 400 else said[1]))
