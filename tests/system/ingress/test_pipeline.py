"""Several requests on one connection of the real server: each is answered, the bad one too; Upgrade is ignored."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.ingress.broken_requests import REFUSED
from tests.support.ingress.server import (
    GET,
    SHORT,
    Answer,
    IngressServer,
    assert_is_refusal,
    chunked,
    head,
    job_line,
    post,
    until,
)

SLOW = post(b"hello", target="/jobs?wait=0.1")
H2C = (
    "Connection: Upgrade, HTTP2-Settings",
    "Upgrade: h2c",
    "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
)
OURS = "https://app.example"
WEBSOCKET = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: aaaa")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IngressServer]:
    with IngressServer(tmp_path_factory.mktemp("door"), **SHORT, origin=OURS) as door:
        yield door
        assert door.stop() == 0
        errors = [line for line in door.log().splitlines() if line.startswith(("ERROR", "WARNING", "CRITICAL"))]
        assert not errors


@pytest.fixture
def door(running: IngressServer) -> Iterator[IngressServer]:
    """The one door of this file. After each test it must still serve."""
    running.mark()
    yield running
    assert running.post(b"still open").status == 202


def answers(door: IngressServer, data: bytes) -> list[Answer]:
    """All answers to these bytes, until the server ends the connection."""
    with door.raw() as raw:
        raw.send(data)
        return list(iter(raw.answer, Answer(0, {}, b"")))


def test_a_thousand_pipelined_requests_are_answered_in_order(door: IngressServer) -> None:
    with door.raw() as raw:
        raw.send(b"".join(b"GET /jobs HTTP/1.1\r\nHost: door\r\nX-Request-Id: n%d\r\n\r\n" % i for i in range(1000)))
        got = [raw.answer() for _ in range(1000)]
    assert [answer.headers["x-request-id"] for answer in got] == [f"n{i}" for i in range(1000)]


# What comes behind a request that is being served
@pytest.mark.parametrize(("status", "request_bytes"), REFUSED.values(), ids=REFUSED.keys())
def test_a_bad_request_behind_others_is_answered_after_them_and_ends_the_connection(
    door: IngressServer, status: int, request_bytes: bytes
) -> None:
    *good, bad = answers(door, SLOW + GET + request_bytes + post(b"behind"))
    assert [answer.status for answer in good] == [202, 200]
    assert_is_refusal(bad, status)
    assert door.jobs() == [job_line(b"hello")]


@pytest.mark.parametrize("half", [post(b"he", length=10), chunked(b"he", end=b"5\r\nwo")], ids=["length", "chunked"])
def test_a_stalled_body_behind_others_gets_408(door: IngressServer, half: bytes) -> None:
    first, bad = answers(door, SLOW + half)
    assert first.status == 202
    assert_is_refusal(bad, 408)
    assert door.jobs() == [job_line(b"hello")]


def test_half_a_head_behind_a_running_request_waits_for_it_and_gets_408(door: IngressServer) -> None:
    first, bad = answers(door, post(b"hello", target="/jobs?wait=1.5") + b"GET /jobs HTTP/1.1\r\nHo")
    assert first.status == 202
    assert_is_refusal(bad, 408)


def test_half_a_head_that_came_in_one_piece_gets_408(door: IngressServer) -> None:
    (bad,) = answers(door, b"GET /jobs HTTP/1.1\r\nHo")
    assert_is_refusal(bad, 408)


def test_an_answer_survives_what_the_client_sends_behind_its_bad_request(door: IngressServer) -> None:
    with door.raw() as raw:
        raw.send(head("GET /jobs HTTP/1.1") + GET * 2000)
        until(lambda: door.refused("bad_host"), "refused")
        raw.send(GET * 2000)  # a reset would show here
        assert_is_refusal(raw.answer(), 400)
        assert raw.ended()


def test_requests_behind_one_that_ends_the_connection_are_not_served(door: IngressServer) -> None:
    got = answers(door, SLOW + post(b"last", "Connection: close") + post(b"behind"))
    assert [answer.status for answer in got] == [202, 202]
    assert door.jobs() == [job_line(b"hello"), job_line(b"last")]


# Upgrade
@pytest.mark.parametrize("upgrade", [H2C, WEBSOCKET], ids=["h2c", "websocket"])
@pytest.mark.parametrize("pieces", [False, True], ids=["at once", "byte by byte"])
def test_an_upgrade_is_ignored_body_and_all_and_the_connection_serves_on(
    door: IngressServer, upgrade: tuple[str, ...], pieces: bool
) -> None:
    sent = [
        head("GET /jobs HTTP/1.1", "Host: door", *upgrade),
        post(b"", *upgrade),
        post(b"one", *upgrade),
        chunked(b"tw", b"o", headers=upgrade),
        post(b"plain"),
        chunked(b"three", headers=upgrade),
        head("GET /jobs HTTP/1.1", "Host: door", *upgrade),
    ]
    with door.raw() as raw:
        for piece in [bytes([byte]) for byte in b"".join(sent)] if pieces else [b"".join(sent)]:
            raw.send(piece)
        got = [raw.answer() for _ in sent]
        raw.send(GET)
        assert raw.answer().status == 200
    assert [answer.status for answer in got] == [200, 202, 202, 202, 202, 202, 200]
    assert door.jobs() == [job_line(body) for body in (b"", b"one", b"two", b"plain", b"three")]
    assert "upgrade" in got[2].json["headers"]


def test_a_large_body_behind_an_upgrade_is_taken_byte_for_byte(door: IngressServer) -> None:
    body = os.urandom(1_000_000)
    assert door.exchange(post(body, *H2C)).status == 202
    assert door.jobs() == [job_line(body)]


def test_permission_to_send_is_given_behind_an_upgrade_too(door: IngressServer) -> None:
    with door.raw() as raw:
        raw.send(post(b"", "Expect: 100-continue", *H2C, length=5))
        assert raw.next_line() == b"HTTP/1.1 100 Continue"
        raw.send(b"hello")
        assert raw.answer().status == 202


@pytest.mark.parametrize(
    ("status", "request_bytes"),
    [
        (400, post(b"hello", "Content-Length: 5", *H2C)),
        (400, post(b"hello", "Transfer-Encoding: chunked", *H2C)),
        (400, chunked(b"hello", end=b"2\r\n{}XX0\r\n\r\n", headers=H2C)),
        (408, post(b"hello", *H2C, length=10)),
        (413, post(b"", *H2C, length=1_000_001)),
        (413, chunked(*[bytes(100_000)] * 11, headers=H2C)),
        (400, post(b"hello", *H2C) + b"\x00garbage\r\n\r\n"),
    ],
    ids=["two lengths", "both framings", "bad chunk", "stalled", "declared too large", "too large", "garbage behind"],
)
def test_an_upgrade_hides_nothing_that_is_refused_without_it(
    door: IngressServer, status: int, request_bytes: bytes
) -> None:
    assert_is_refusal(answers(door, request_bytes)[-1], status)
    assert not [line for line in door.jobs() if line != job_line(b"hello")]


# Blanks and trailers
@pytest.mark.parametrize("blanks", [" ", "\t", " \t  "])
def test_blanks_around_a_value_are_no_part_of_it(door: IngressServer, blanks: str) -> None:
    given = f"X-Request-Id:{blanks}mine-1{blanks}"
    answer = door.exchange(head("GET /jobs HTTP/1.1", "Host: door", given))
    assert answer.headers["x-request-id"] == answer.json["id"] == "mine-1"


@pytest.mark.parametrize("line", [b"X-A: " + b"x" * 7000 + b"\r\n", b"X-A: " + b"x" * 100_000], ids=["lines", "a line"])
@pytest.mark.parametrize("body", [b"hello", bytes(900_000)], ids=["small body", "large body"])
def test_a_trailer_may_be_no_longer_than_a_head(door: IngressServer, line: bytes, body: bytes) -> None:
    trailer = line * (100_000 // len(line) + 1)
    (bad,) = answers(door, chunked(body, end=b"0\r\n" + trailer + b"\r\n\r\n"))
    assert_is_refusal(bad, 431)
    assert "trailers: at most 16384 bytes" in bad.json["error"]["message"]
    assert not door.jobs()


def test_a_trailer_of_a_kilobyte_passes(door: IngressServer) -> None:
    assert door.exchange(chunked(b"hello", end=b"0\r\nX-A: " + b"x" * 1000 + b"\r\n\r\n")).status == 202


# Refusals that the application never hears of
BROKEN_BEHIND_ORIGIN = {
    "a large trailer": (431, "Transfer-Encoding: chunked", b"1\r\na\r\n0\r\nX-A: " + b"x" * 100_000 + b"\r\n\r\n"),
    "a bad chunk size": (400, "Transfer-Encoding: chunked", b"zz\r\n"),
    "two lengths": (400, "Content-Length: 2\r\nContent-Length: 3", b"{}"),
}


@pytest.mark.parametrize("before", [b"", SLOW], ids=["alone", "behind another"])
@pytest.mark.parametrize(("status", "line", "rest"), BROKEN_BEHIND_ORIGIN.values(), ids=BROKEN_BEHIND_ORIGIN)
def test_what_the_parser_refuses_can_be_read_by_a_listed_origin_only(
    door: IngressServer, before: bytes, status: int, line: str, rest: bytes
) -> None:
    def refused(*origin: str) -> Answer:
        bad = answers(door, before + head("POST /jobs HTTP/1.1", "Host: door", *origin, line) + rest)[-1]
        assert_is_refusal(bad, status)
        assert bad.headers["vary"] == "Origin"
        return bad

    ours = refused(f"Origin: {OURS}")
    assert ours.headers["access-control-allow-origin"] == OURS
    assert "x-request-id" in ours.headers["access-control-expose-headers"]
    for other in (refused("Origin: https://evil.example"), refused()):
        assert "access-control-allow-origin" not in other.headers
