"""The door on the real server, by raw sockets: what must be refused, and what must pass unharmed."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ingress.broken_requests import REFUSED
from tests.support.ingress.server import (
    GET,
    SHORT,
    IngressServer,
    assert_is_refusal,
    chunked,
    head,
    job_line,
    post,
    until,
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IngressServer]:
    with IngressServer(tmp_path_factory.mktemp("door"), **SHORT) as door:
        yield door
        assert door.stop() == 0
        errors = [line for line in door.log().splitlines() if line.startswith(("ERROR", "WARNING", "CRITICAL"))]
        assert all(error.split()[1:3] == ["edge.ingress.guard", "request"] for error in errors), (
            errors
        )  # made on purpose


@pytest.fixture
def door(running: IngressServer) -> Iterator[IngressServer]:
    """The one door of this file. After each test it must still serve, and have made no other job than this one."""
    running.mark()
    yield running
    assert running.post(b"still open").status == 202
    assert running.jobs()[-1:] == [job_line(b"still open")]


@pytest.mark.parametrize(("status", "request_bytes"), REFUSED.values(), ids=REFUSED.keys())
def test_a_broken_request_is_refused_and_makes_no_job(door: IngressServer, status: int, request_bytes: bytes) -> None:
    with door.raw() as raw:
        raw.send(request_bytes)
        assert_is_refusal(raw.answer(), status)
        assert raw.ended()
    assert not door.jobs()


@pytest.mark.parametrize(
    "request_bytes",
    [
        post(b""),
        head("POST /jobs HTTP/1.1", "Host: door"),
        head("POST /jobs HTTP/1.0", "Content-Length: 2") + b"{}",
        chunked(),
        chunked(b"he", b"l", b"lo"),
        post(b"hello", "Content-Encoding: identity"),
        b"\r\n" + post(b"hello"),
    ],
    ids=["empty", "no length", "1.0 without host", "empty chunked", "chunked", "identity", "leading CRLF"],
)
def test_an_unusual_but_whole_request_reaches_the_application(door: IngressServer, request_bytes: bytes) -> None:
    assert door.exchange(request_bytes).status == 202
    assert len(door.jobs()) == 1


# Bodies
@pytest.mark.parametrize(
    "half", [post(b"hello", length=10), chunked(b"hello", end=b"5\r\nwo")], ids=["length", "chunked"]
)
@pytest.mark.parametrize("how", ["FIN", "close"])
def test_a_cut_body_never_becomes_a_job(door: IngressServer, half: bytes, how: str) -> None:
    with door.raw() as raw:
        raw.send(half)
        until(lambda: raw.socket.send(b"") == 0, "sent")
        if how == "FIN":
            raw.socket.shutdown(socket.SHUT_WR)
        else:
            raw.socket.close()
        until(lambda: door.refused("cut_body"), "cut body noticed")
    assert not door.jobs()


@pytest.mark.parametrize(
    "half",
    [post(b"", length=10), post(b"hello", length=10), chunked(end=b""), chunked(b"hello", end=b"5\r\nwo")],
    ids=["nothing", "a part", "no chunk", "half a chunk"],
)
def test_a_stalled_body_gets_408(door: IngressServer, half: bytes) -> None:
    with door.raw() as raw:
        raw.send(half)
        assert_is_refusal(raw.answer(), 408)
        assert raw.ended()
    assert door.refused("slow_body") and not door.jobs()


def test_a_dripping_body_gets_408(door: IngressServer) -> None:
    with door.raw() as raw:
        raw.send(post(b"", length=100_000))
        raw.drip(b"x")
        assert_is_refusal(raw.answer(), 408)
    assert not door.jobs()


def test_a_dripping_trailer_gets_408(door: IngressServer) -> None:
    with door.raw() as raw:
        raw.send(chunked(b"hello", end=b"0\r\n"))
        raw.drip(b"X-A: 1\r\n")
        assert_is_refusal(raw.answer(), 408)
    assert not door.jobs()


def test_a_chunked_body_above_the_cap_gets_413_even_if_the_client_sends_on(door: IngressServer) -> None:
    with door.raw() as raw:
        raw.send(chunked(*[bytes(100_000)] * 200))
        assert_is_refusal(raw.answer(), 413)
    assert door.refused("large_body") and not door.jobs()


def test_a_declared_body_above_the_cap_gets_413_even_if_the_client_sends_it(door: IngressServer) -> None:
    with door.raw() as raw:
        raw.send(post(bytes(20_000_000)))
        assert_is_refusal(raw.answer(), 413)
    assert not door.jobs()


def test_a_body_of_exactly_the_cap_is_taken_byte_for_byte(door: IngressServer) -> None:
    body = os.urandom(1_000_000)
    assert door.post(body).status == 202
    assert door.jobs() == [job_line(body)]


def test_chunk_extensions_out_of_proportion_get_431(door: IngressServer) -> None:
    with door.raw() as raw:
        raw.send(chunked(b"hello", end=b""))
        with contextlib.suppress(ConnectionError):
            for _ in range(300):
                raw.send(b"1;" + b"x" * 4000 + b"\r\nx\r\n")
        assert_is_refusal(raw.answer(), 431)
    assert not door.jobs()


def test_a_trailer_becomes_a_header_neither_of_this_request_nor_of_the_next(door: IngressServer) -> None:
    with door.raw() as raw:
        raw.send(chunked(b"hello", end=b"0\r\nX-Bf-Vk: stolen\r\nX-Other: 1\r\n\r\n"))
        assert raw.answer().json["headers"] == ["host", "transfer-encoding"]
        raw.send(post(b"next"))
        assert raw.answer().json["headers"] == ["content-length", "host"]


# Permission to send
def test_permission_to_send_is_given_only_when_the_application_reads(door: IngressServer) -> None:
    with door.raw() as raw:
        raw.send(post(b"", "Expect: 100-continue", length=5))
        assert raw.next_line() == b"HTTP/1.1 100 Continue"
        raw.send(b"hello")
        assert raw.answer().status == 202


@pytest.mark.parametrize(
    ("status", "request_head"),
    [
        (401, post(b"", "Expect: 100-continue", target="/unlocked", length=5)),
        (413, post(b"", "Expect: 100-continue", length=1_000_001)),
        (404, post(b"", "Expect: 100-continue", target="/nothing", length=5)),
    ],
)
def test_a_refusal_from_the_head_alone_gives_no_permission(
    door: IngressServer, status: int, request_head: bytes
) -> None:
    with door.raw() as raw:
        raw.send(request_head)
        assert raw.next_line().startswith(b"HTTP/1.1 %d" % status)
        assert raw.answer().headers["connection"] == "close"
        assert raw.ended()


# Heads
def test_a_silent_connection_is_closed_without_a_word(door: IngressServer) -> None:
    with door.raw() as raw:
        assert raw.ended()
    assert door.refused("silent_connection")


@pytest.mark.parametrize("first", [b"", GET], ids=["first request", "second request"])
@pytest.mark.parametrize("drip", [b"GET /" + b"x" * 1000, b"\r\n"], ids=["head", "CRLF"])
def test_a_dripping_head_gets_408(door: IngressServer, first: bytes, drip: bytes) -> None:
    with door.raw() as raw:
        if first:
            raw.send(first)
            assert raw.answer().status == 200
        raw.drip(drip)
        assert_is_refusal(raw.answer(), 408)
        assert raw.ended()


def test_an_idle_connection_serves_again_and_is_closed_after_the_keepalive_time(door: IngressServer) -> None:
    with door.raw() as raw:
        for _ in range(3):
            raw.send(GET)
            assert raw.answer().status == 200
        assert raw.ended()


def test_a_head_of_30_megabytes_is_refused_at_once_and_the_client_can_read_why(door: IngressServer) -> None:
    piece = b"x" * (1 << 20)
    with door.raw() as raw:
        raw.send(b"GET /jobs HTTP/1.1\r\nHost: door\r\nX-Long: ")
        raw.send(piece)
        assert_is_refusal(raw.answer(), 431)
        for _ in range(29):
            raw.send(piece)
    assert not door.jobs()


# Answers
def test_a_reader_that_does_not_read_is_cut_off(door: IngressServer) -> None:
    with door.raw() as raw:
        raw.send(head("GET /big HTTP/1.1", "Host: door"))
        until(lambda: door.refused("slow_reader"), "slow reader noticed", within=5)


def test_a_slow_but_steady_reader_is_not_cut_off(door: IngressServer) -> None:
    with door.raw() as raw:
        raw.send(head("GET /big HTTP/1.1", "Host: door"))
        raw.read_slowly(20_000, every=0.05, during=4)
    assert not door.refused("slow_reader")


def test_a_reader_that_reads_gets_all_of_a_large_answer(door: IngressServer) -> None:
    with door.raw() as raw:
        raw.send(head("GET /big HTTP/1.1", "Host: door"))
        assert len(raw.answer().body) == 20 * 1024 * 1024


@pytest.mark.parametrize("given", ["mine-1", "with space", "x" * 128])
def test_a_printable_request_id_is_adopted(door: IngressServer, given: str) -> None:
    answer = door.exchange(head("GET /jobs HTTP/1.1", "Host: door", f"X-Request-Id: {given}"))
    assert answer.headers["x-request-id"] == answer.json["id"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "caf\xe9", "a\tb"])
def test_any_other_request_id_is_replaced(door: IngressServer, given: str) -> None:
    answer = door.exchange(head("GET /jobs HTTP/1.1", "Host: door", f"X-Request-Id: {given}"))
    assert answer.status == 200
    assert answer.headers["x-request-id"] == answer.json["id"] != given
    assert len(answer.headers["x-request-id"]) == 36


def test_a_crash_of_the_application_is_answered_in_the_contracts_form(door: IngressServer) -> None:
    assert_is_refusal(door.exchange(head("GET /broken HTTP/1.1", "Host: door")), 500)


def test_a_client_that_leaves_after_its_request_still_has_its_job(door: IngressServer) -> None:
    with door.raw() as raw:
        raw.send(post(b"hello", target="/jobs?wait=0.3"))
        until(lambda: "body 5" in door.since_mark(), "body read")
    until(door.jobs, "job made")
    assert door.jobs() == [job_line(b"hello")]


def test_a_client_that_leaves_with_requests_in_the_pipeline_disturbs_nothing(door: IngressServer) -> None:
    with door.raw() as raw:
        raw.send(post(b"hello", target="/jobs?wait=0.2") + post(b"never read"))
        until(lambda: "body 5" in door.since_mark(), "first body read")
    until(door.jobs, "first job made")
    assert door.jobs() == [job_line(b"hello")]  # and no error in the log, as always here


# An application that takes every end for the end of the body
def test_the_guard_answers_even_if_the_application_swallows_the_error(tmp_path: Path) -> None:
    with IngressServer(tmp_path, **SHORT, reraises=0) as door:
        assert_is_refusal(door.exchange(post(b"hello", length=10)), 408)
        assert_is_refusal(door.exchange(chunked(*[bytes(100_000)] * 11)), 413)
        assert not door.jobs()
