"""The guard without a server: what reaches the application, and that nothing stays counted."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.ingress.asgi_types import Message, Receive, Scope, Send
from edge.ingress.body_stream import Body, InflightBodies
from edge.ingress.guard import Guard
from edge.ingress.head_checks import check_head, collect_headers
from edge.ingress.limits import GuardLimits
from edge.ingress.rejection import RequestRejected, error_body, new_request_id, request_id_from

LIMITS = GuardLimits(max_body_bytes=1000, max_requests=2, max_bytes=1500, drain=0.01)
GONE: Message = {"type": "http.disconnect"}


def request_scope(*headers: tuple[bytes, bytes], method: str = "POST") -> Scope:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "raw_path": b"/jobs",
        "query_string": b"",
        "headers": [(b"host", b"door"), *headers],
    }


def sized(length: int) -> Scope:
    return request_scope((b"content-length", str(length).encode()))


CHUNKED = request_scope((b"transfer-encoding", b"chunked"))


def pieces(*bodies: bytes, whole: bool = True) -> list[Message]:
    """The events of a body that comes in these pieces; without its end if not `whole`, but with the client's."""
    events: list[Message] = [{"type": "http.request", "body": body, "more_body": True} for body in bodies]
    if whole:
        events[-1]["more_body"] = False
    return [*events, GONE]


class Exchange:
    """One request through a guard: a scripted client, and all that was sent back."""

    def __init__(self, events: Iterable[Message] = ()) -> None:
        self._events = list(events)
        self.sent: list[Message] = []
        self.waiting = asyncio.Event()

    async def receive(self) -> Message:
        if not self._events:
            self.waiting.set()
            await asyncio.Event().wait()
        return self._events.pop(0)

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])


class Application:
    """Reads a body the way frameworks do, taking any end for the end, and makes a job of it."""

    def __init__(self) -> None:
        self.jobs: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        more = True
        while more:
            event = await receive()
            body += event.get("body", b"")
            more = event.get("more_body", False)
        self.jobs.append(body)
        await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"{}"})


async def through(guard: Guard, scope: Scope, events: Iterable[Message] = ()) -> Exchange:
    exchange = Exchange(events)
    await guard({**scope}, exchange.receive, exchange.send)
    assert (guard.requests, guard.arrivals.bytes) == (0, 0)
    return exchange


def assert_is_refusal(exchange: Exchange, status: int) -> str:
    assert exchange.status == status
    body = msgspec.json.decode(exchange.body)
    message = body["error"].pop("message")
    assert body["error"].pop("type") == ("server_error" if status in (500, 503) else "invalid_request_error")
    assert body["error"].pop("code").replace("_", "").isalpha()
    assert body == {"is_bifrost_error": False, "status_code": status, "error": {}, "extra_fields": {}}
    assert exchange.headers[b"content-length"] == str(len(exchange.body)).encode()
    assert exchange.sent[-1]["more_body"] is False
    return str(message)


@given(st.binary(max_size=200), st.lists(st.integers(0, 200)), st.booleans(), st.booleans(), st.booleans())
def test_the_application_makes_a_job_of_all_of_a_body_or_none(
    body: bytes, cuts: list[int], declared: bool, whole: bool, empty_end: bool
) -> None:
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    parts = [body[start:end] for start, end in itertools.pairwise(places)]
    scope = sized(len(body)) if declared and body else CHUNKED
    app = Application()
    events = pieces(*parts, *([b""] if empty_end else []), whole=whole)
    exchange = asyncio.run(through(Guard(app, LIMITS), scope, events))
    if whole:
        assert (app.jobs, exchange.status) == ([body], 202)
    else:
        assert (app.jobs, exchange.status) == ([], 400)


@given(st.integers(1, 1000), st.integers(0, 1000))
def test_a_body_of_another_size_than_declared_makes_no_job(declared: int, came: int) -> None:
    app = Application()
    exchange = asyncio.run(through(Guard(app, LIMITS), sized(declared), pieces(bytes(came))))
    assert (app.jobs == [bytes(came)]) == (exchange.status == 202) == (declared == came)


async def test_a_broken_body_that_the_application_hides_is_answered_by_the_guard() -> None:
    async def hides(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await receive()
        except Exception:
            await send({"type": "http.response.start", "status": 202, "headers": []})
            await send({"type": "http.response.body", "body": b"{}"})

    refused: list[str] = []
    exchange = await through(Guard(hides, LIMITS, refused.append), sized(5), [GONE])
    assert_is_refusal(exchange, 400)
    assert refused == ["cut_body"]


async def test_a_body_above_the_cap_is_refused_as_soon_as_it_is_above() -> None:
    app = Application()
    exchange = await through(Guard(app, LIMITS), CHUNKED, pieces(*[bytes(300)] * 9))
    assert "at most 1000 bytes, got 1200 so far" in assert_is_refusal(exchange, 413)
    assert not app.jobs


async def test_a_client_that_leaves_after_its_body_cancels_nothing() -> None:
    app = Application()
    await through(Guard(app, LIMITS), sized(5), [*pieces(b"hello"), GONE])
    assert app.jobs == [b"hello"]


# Deadlines
def test_the_deadline_of_a_body_grows_with_its_bytes() -> None:
    limits = GuardLimits(body_grace=15, body_min_rate=1000)
    assert limits.body_deadline(100, 0) == 115
    assert limits.body_deadline(100, 60_000) == 175


async def stalled(body: Body) -> tuple[asyncio.Task[Message], Exchange]:
    exchange = Exchange()
    body._receive = exchange.receive
    reading = asyncio.ensure_future(body.receive())
    await exchange.waiting.wait()
    return reading, exchange


async def test_a_body_is_interrupted_at_its_deadline_and_not_before() -> None:
    body = Body(InflightBodies(LIMITS), (10, False), Exchange().receive)
    reading, _ = await stalled(body)
    body.stop_if_late(1000.0)
    body.stop_if_late(1000.0 + LIMITS.body_grace - 0.01)
    await asyncio.sleep(0)
    assert not reading.done()
    body.stop_if_late(1000.0 + LIMITS.body_grace)
    with pytest.raises(RequestRejected) as refusal:
        await asyncio.wait_for(reading, 5)
    assert (refusal.value.status, refusal.value.reason) == (408, "slow_body")


async def test_time_that_the_application_takes_is_not_the_clients() -> None:
    exchange = Exchange(pieces(b"hel", b"lo"))
    body = Body(InflightBodies(LIMITS), (5, False), exchange.receive)
    await body.receive()
    body.stop_if_late(0.0)
    body.stop_if_late(10_000.0)
    assert (await body.receive())["body"] == b"lo"


async def test_a_cancelled_request_is_cancelled_and_not_answered_with_408() -> None:
    body = Body(InflightBodies(LIMITS), (10, False), Exchange().receive)
    reading, _ = await stalled(body)
    body.stop_if_late(0.0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(reading, 5)


async def test_a_cancelled_request_leaves_no_trace_in_the_counts() -> None:
    guard = Guard(Application(), LIMITS)
    exchange = Exchange(pieces(b"hel", whole=False)[:1])
    serving = asyncio.ensure_future(guard(sized(5), exchange.receive, exchange.send))
    await exchange.waiting.wait()
    assert (guard.requests, guard.arrivals.bytes) == (1, 3)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert (guard.requests, guard.arrivals.bytes) == (0, 0)


# Bounds
async def test_requests_above_the_bound_are_told_when_to_come_back() -> None:
    refused: list[str] = []
    guard = Guard(Application(), LIMITS, refused.append)
    held = [Exchange() for _ in range(2)]
    serving = [asyncio.ensure_future(guard(sized(5), one.receive, one.send)) for one in held]
    for one in held:
        await one.waiting.wait()
    third = Exchange(pieces(b"hello"))
    await guard(sized(5), third.receive, third.send)
    assert_is_refusal(third, 503)
    assert third.headers[b"retry-after"] == b"1"
    assert (refused, guard.requests) == (["busy_requests"], 2)
    for task in serving:
        task.cancel()
    await asyncio.gather(*serving, return_exceptions=True)
    assert guard.requests == 0


async def test_bytes_are_counted_when_they_come_and_not_when_they_are_announced() -> None:
    guard = Guard(Application(), LIMITS)
    idle = Exchange()
    serving = asyncio.ensure_future(guard(sized(1000), idle.receive, idle.send))
    await idle.waiting.wait()
    honest = Exchange(pieces(bytes(900)))
    await guard(sized(900), honest.receive, honest.send)
    assert honest.status == 202
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


# Answers
async def test_an_answer_before_the_body_was_read_ends_the_connection() -> None:
    async def refuses(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"{}"})

    exchange = await through(Guard(refuses, LIMITS), sized(10), pieces(b"hello", whole=False))
    assert exchange.headers[b"connection"] == b"close"
    assert (exchange.status, exchange.body, exchange.sent[-1]["more_body"]) == (401, b"{}", False)


async def test_a_client_that_waits_for_permission_is_first_asked_nothing() -> None:
    scope = request_scope((b"content-length", b"5"), (b"expect", b"100-continue"))
    seen: list[Message] = []

    async def looks(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(await receive())
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    exchange = Exchange()  # would wait for ever if it were asked
    await Guard(looks, LIMITS)(scope, exchange.receive, exchange.send)
    assert seen == [{"type": "http.request", "body": b"", "more_body": True}]
    assert exchange.status == 401


async def test_a_crash_is_answered_without_a_word_of_its_cause(caplog: pytest.LogCaptureFixture) -> None:
    async def crashes(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("mongodb://user:secret@host")

    exchange = await through(Guard(crashes, LIMITS), request_scope(method="GET"))
    assert "secret" not in assert_is_refusal(exchange, 500)
    assert exchange.headers[b"x-request-id"].decode() in caplog.text


async def test_a_crash_in_the_middle_of_an_answer_is_left_to_the_server() -> None:
    async def crashes(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError("late")

    with pytest.raises(ValueError, match="late"):
        await through(Guard(crashes, LIMITS), request_scope(method="GET"))


async def test_a_websocket_is_closed_and_a_lifespan_passes() -> None:
    kinds: list[str] = []

    async def notes(scope: Scope, receive: Receive, send: Send) -> None:
        kinds.append(scope["type"])

    guard = Guard(notes, LIMITS)
    exchange = await through(guard, {"type": "websocket"})
    assert exchange.sent == [{"type": "websocket.close", "code": 1008}]
    await through(guard, {"type": "lifespan"})
    assert kinds == ["lifespan"]


# Heads and ids
NAMES = st.sampled_from(
    [b"host", b"content-length", b"transfer-encoding", b"expect", b"content-encoding", b"x-request-id"]
)
VALUES = st.sampled_from([b"chunked", b"0", b"5", b"100-continue", b"identity", b"gzip, chunked"]) | st.binary(
    max_size=99
)


@given(
    st.lists(st.tuples(NAMES | st.binary(max_size=9), VALUES), max_size=120),
    st.sampled_from(["0.9", "1.0", "1.1", "2"]),
)
def test_any_head_is_taken_or_refused_with_a_readable_reason(headers: list[tuple[bytes, bytes]], version: str) -> None:
    scope: dict[str, Any] = {"http_version": version, "raw_path": b"/", "query_string": b"", "headers": headers}
    try:
        length, _ = check_head(scope, *collect_headers(headers, LIMITS.max_headers), LIMITS)
    except RequestRejected as refusal:
        assert refusal.message.isascii() and refusal.message.isprintable() and len(refusal.message) < 500
        assert refusal.reason.replace("_", "").isalpha()
        assert msgspec.json.decode(error_body(refusal.status, refusal.message, refusal.code))
    else:
        assert length is None or 0 <= length <= LIMITS.max_body_bytes


@given(st.binary(max_size=200))
def test_a_request_id_is_always_printable_and_short(value: bytes) -> None:
    found = request_id_from([value])
    assert found.isascii() and found.isprintable() and 1 <= len(found) <= 128


def test_new_request_ids_are_version_4_uuids_and_differ() -> None:
    made = [UUID(new_request_id()) for _ in range(1000)]
    assert len(set(made)) == 1000
    assert all(one.version == 4 and one.variant == "specified in RFC 4122" for one in made)
