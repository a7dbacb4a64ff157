"""The door on the real server, by raw sockets: what must be refused, what must be bounded, and how it stops."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.door import ROOT, Answer, Door, Raw, chunked, job_line, post, until

SHORT = {
    "max_body_bytes": 1_000_000,
    "body_grace": 1.0,
    "body_min_rate": 1000,
    "drain": 1.5,
    "head_timeout": 1.0,
    "keepalive": 1.5,
    "write_interval": 1.0,
    "linger": 1.5,
    "stop_grace": 0.5,
    "max_connections": 200,
}
GET = b"GET /jobs HTTP/1.1\r\nHost: door\r\n\r\n"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with Door(tmp_path_factory.mktemp("door"), **SHORT) as door:
        yield door
        assert door.stop() == 0
        errors = [line for line in door.log().splitlines() if line.startswith(("ERROR", "WARNING", "CRITICAL"))]
        assert all(error.split()[1:3] == ["edge.guard", "request"] for error in errors), errors  # made on purpose


@pytest.fixture
def door(running: Door) -> Iterator[Door]:
    """The one door of this file. After each test it must still serve, and have made no other job than this one."""
    running.mark()
    yield running
    assert running.post(b"still open").status == 202
    assert running.jobs()[-1:] == [job_line(b"still open")]


def assert_is_refusal(answer: Answer, status: int) -> None:
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["connection"] == "close"
    assert answer.headers["x-request-id"]
    body = answer.json
    assert body["error"].pop("message")
    assert body == {"is_bifrost_error": False, "status_code": status, "error": {}, "extra_fields": {}}


def head(*lines: str) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


HOSTED = ("POST /jobs HTTP/1.1", "Host: door")
MANY = [f"X-{i}: 1" for i in range(105)]
REFUSED = {
    "no host": (400, head("POST /jobs HTTP/1.1", "Content-Length: 2") + b"{}"),
    "two hosts": (400, head(*HOSTED, "Host: other", "Content-Length: 2") + b"{}"),
    "two lengths": (400, head(*HOSTED, "Content-Length: 2", "Content-Length: 2") + b"{}"),
    "listed lengths": (400, head(*HOSTED, "Content-Length: 2, 2") + b"{}"),
    "signed length": (400, head(*HOSTED, "Content-Length: +2") + b"{}"),
    "negative length": (400, head(*HOSTED, "Content-Length: -1") + b"{}"),
    "hex length": (400, head(*HOSTED, "Content-Length: 0x2") + b"{}"),
    "superscript length": (400, head(*HOSTED, "Content-Length: \xb2") + b"{}"),
    "length and chunked": (400, head(*HOSTED, "Content-Length: 2", "Transfer-Encoding: chunked") + b"0\r\n\r\n"),
    "length of 13 digits": (413, head(*HOSTED, "Content-Length: 1000000000000")),
    "length of 23 digits": (400, head(*HOSTED, "Content-Length: 10000000000000000000000")),
    "length above the cap": (413, head(*HOSTED, "Content-Length: 1000001")),
    "chunked on 1.0": (400, head("POST /jobs HTTP/1.0", "Host: door", "Transfer-Encoding: chunked") + b"0\r\n\r\n"),
    "xchunked": (501, head(*HOSTED, "Transfer-Encoding: xchunked") + b"2\r\n{}\r\n0\r\n\r\n"),
    "gzip and chunked": (501, head(*HOSTED, "Transfer-Encoding: gzip, chunked") + b"2\r\n{}\r\n0\r\n\r\n"),
    "chunked twice": (400, head(*HOSTED, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + b"0\r\n\r\n"),
    "odd chunked": (400, head(*HOSTED, "Transfer-Encoding: \x0bchunked") + b"0\r\n\r\n"),
    "compressed": (415, head(*HOSTED, "Content-Encoding: gzip", "Content-Length: 2") + b"{}"),
    "odd expectation": (417, head(*HOSTED, "Expect: foo", "Content-Length: 2") + b"{}"),
    "upgrade with a body": (
        400,
        head(*HOSTED, "Connection: Upgrade", "Upgrade: h2c", "Content-Length: 2") + b"{}",
    ),
    "long target": (414, head("GET /" + "x" * 5000 + " HTTP/1.1", "Host: door")),
    "105 headers": (431, head(*HOSTED, *MANY, "Content-Length: 2") + b"{}"),
    "header of 9 KB": (431, head(*HOSTED, "X-Long: " + "x" * 9000, "Content-Length: 2") + b"{}"),
    "headers of 20 KB": (431, head(*HOSTED, *(f"X-{i}: {'x' * 7000}" for i in range(3)), "Content-Length: 2") + b"{}"),
    "version 2.0": (505, head("POST /jobs HTTP/2.0", "Host: door", "Content-Length: 2") + b"{}"),
    "version 3.7": (400, head("POST /jobs HTTP/3.7", "Host: door", "Content-Length: 2") + b"{}"),
    "version 0.9": (505, b"GET /jobs\r\n\r\n"),
    "HTTP/2 preface": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "TLS": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)),
    "unknown method": (400, head("FOO /jobs HTTP/1.1", "Host: door")),
    "lower-case method": (400, head("post /jobs HTTP/1.1", "Host: door", "Content-Length: 2") + b"{}"),
    "CONNECT": (400, head("CONNECT door:80 HTTP/1.1", "Host: door")),
    "raw UTF-8 in the path": (400, head("POST /j\xc3\xb6bs HTTP/1.1", "Host: door", "Content-Length: 2") + b"{}"),
    "bare LF": (400, b"POST /jobs HTTP/1.1\nHost: door\nContent-Length: 2\n\n{}"),
    "folded header": (400, head(*HOSTED, "X-A: 1", " 2", "Content-Length: 2") + b"{}"),
    "space before the colon": (400, head(*HOSTED, "Content-Length : 2") + b"{}"),
    "NUL in a value": (400, head(*HOSTED, "X-A: a\x00b", "Content-Length: 2") + b"{}"),
    "CR in a value": (400, head(*HOSTED, "X-A: a\rb", "Content-Length: 2") + b"{}"),
    "empty name": (400, head(*HOSTED, ": a", "Content-Length: 2") + b"{}"),
    "chunk size of 17 digits": (400, chunked(end=b"00000000000000002\r\n{}\r\n0\r\n\r\n".replace(b"0", b"f", 1))),
    "bad chunk size": (400, chunked(b"{}", end=b"zz\r\n")),
    "bad chunk terminator": (400, chunked(end=b"2\r\n{}XX0\r\n\r\n")),
    "length as a trailer": (400, chunked(b"{}", end=b"0\r\nContent-Length: 9\r\n\r\n")),
}


@pytest.mark.parametrize(("status", "request_bytes"), REFUSED.values(), ids=REFUSED.keys())
def test_a_broken_request_is_refused_and_makes_no_job(door: Door, status: int, request_bytes: bytes) -> None:
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
def test_an_unusual_but_whole_request_reaches_the_application(door: Door, request_bytes: bytes) -> None:
    assert door.exchange(request_bytes).status == 202
    assert len(door.jobs()) == 1


# Bodies
@pytest.mark.parametrize(
    "half", [post(b"hello", length=10), chunked(b"hello", end=b"5\r\nwo")], ids=["length", "chunked"]
)
@pytest.mark.parametrize("how", ["FIN", "close"])
def test_a_cut_body_never_becomes_a_job(door: Door, half: bytes, how: str) -> None:
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
def test_a_stalled_body_gets_408(door: Door, half: bytes) -> None:
    with door.raw() as raw:
        raw.send(half)
        assert_is_refusal(raw.answer(), 408)
        assert raw.ended()
    assert door.refused("slow_body") and not door.jobs()


def test_a_dripping_body_gets_408(door: Door) -> None:
    with door.raw() as raw:
        raw.send(post(b"", length=100_000))
        raw.drip(b"x")
        assert_is_refusal(raw.answer(), 408)
    assert not door.jobs()


def test_a_dripping_trailer_gets_408(door: Door) -> None:
    with door.raw() as raw:
        raw.send(chunked(b"hello", end=b"0\r\n"))
        raw.drip(b"X-A: 1\r\n")
        assert_is_refusal(raw.answer(), 408)
    assert not door.jobs()


def test_a_chunked_body_above_the_cap_gets_413_even_if_the_client_sends_on(door: Door) -> None:
    with door.raw() as raw:
        raw.send(chunked(*[bytes(100_000)] * 200))
        assert_is_refusal(raw.answer(), 413)
    assert door.refused("large_body") and not door.jobs()


def test_a_declared_body_above_the_cap_gets_413_even_if_the_client_sends_it(door: Door) -> None:
    with door.raw() as raw:
        raw.send(post(bytes(20_000_000)))
        assert_is_refusal(raw.answer(), 413)
    assert not door.jobs()


def test_a_body_of_exactly_the_cap_is_taken_byte_for_byte(door: Door) -> None:
    body = os.urandom(1_000_000)
    assert door.post(body).status == 202
    assert door.jobs() == [job_line(body)]


def test_chunk_extensions_out_of_proportion_get_431(door: Door) -> None:
    with door.raw() as raw:
        raw.send(chunked(b"hello", end=b""))
        with contextlib.suppress(ConnectionError):
            for _ in range(300):
                raw.send(b"1;" + b"x" * 4000 + b"\r\nx\r\n")
        assert_is_refusal(raw.answer(), 431)
    assert not door.jobs()


def test_a_trailer_becomes_a_header_neither_of_this_request_nor_of_the_next(door: Door) -> None:
    with door.raw() as raw:
        raw.send(chunked(b"hello", end=b"0\r\nX-Bf-Vk: stolen\r\nX-Other: 1\r\n\r\n"))
        assert raw.answer().json["headers"] == ["host", "transfer-encoding"]
        raw.send(post(b"next"))
        assert raw.answer().json["headers"] == ["content-length", "host"]


# Permission to send
def test_permission_to_send_is_given_only_when_the_application_reads(door: Door) -> None:
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
def test_a_refusal_from_the_head_alone_gives_no_permission(door: Door, status: int, request_head: bytes) -> None:
    with door.raw() as raw:
        raw.send(request_head)
        assert raw.next_line().startswith(b"HTTP/1.1 %d" % status)
        assert raw.answer().headers["connection"] == "close"
        assert raw.ended()


# Heads
def test_a_silent_connection_is_closed_without_a_word(door: Door) -> None:
    with door.raw() as raw:
        assert raw.ended()
    assert door.refused("silent_connection")


@pytest.mark.parametrize("first", [b"", GET], ids=["first request", "second request"])
@pytest.mark.parametrize("drip", [b"GET /" + b"x" * 1000, b"\r\n"], ids=["head", "CRLF"])
def test_a_dripping_head_gets_408(door: Door, first: bytes, drip: bytes) -> None:
    with door.raw() as raw:
        if first:
            raw.send(first)
            assert raw.answer().status == 200
        raw.drip(drip)
        assert_is_refusal(raw.answer(), 408)
        assert raw.ended()


def test_an_idle_connection_serves_again_and_is_closed_after_the_keepalive_time(door: Door) -> None:
    with door.raw() as raw:
        for _ in range(3):
            raw.send(GET)
            assert raw.answer().status == 200
        assert raw.ended()


def test_a_head_of_30_megabytes_is_refused_at_once_and_the_client_can_read_why(door: Door) -> None:
    piece = b"x" * (1 << 20)
    with door.raw() as raw:
        raw.send(b"GET /jobs HTTP/1.1\r\nHost: door\r\nX-Long: ")
        raw.send(piece)
        assert_is_refusal(raw.answer(), 431)
        for _ in range(29):
            raw.send(piece)
    assert not door.jobs()


# Several requests on one connection
def test_a_thousand_pipelined_requests_are_answered_in_order(door: Door) -> None:
    with door.raw() as raw:
        raw.send(b"".join(b"GET /jobs HTTP/1.1\r\nHost: door\r\nX-Request-Id: n%d\r\n\r\n" % i for i in range(1000)))
        answers = [raw.answer() for _ in range(1000)]
    assert [answer.headers["x-request-id"] for answer in answers] == [f"n{i}" for i in range(1000)]


def test_garbage_after_a_whole_request_costs_only_the_connection(door: Door) -> None:
    with door.raw() as raw:
        raw.send(post(b"hello", target="/jobs?wait=0.1") + b"\x00\x01garbage\r\n\r\n")
        assert raw.answer().status == 202
        assert raw.ended()
    assert door.jobs() == [job_line(b"hello")]


def test_a_broken_chunk_behind_a_running_request_makes_no_second_job(door: Door) -> None:
    with door.raw() as raw:
        raw.send(post(b"first", target="/jobs?wait=0.1") + chunked(end=b"2\r\n{}XX0\r\n\r\n"))
        assert raw.answer().status == 202
        assert raw.ended()
    assert door.jobs() == [job_line(b"first")]


def test_half_a_head_behind_a_running_request_does_not_disturb_it(door: Door) -> None:
    with door.raw() as raw:
        raw.send(post(b"hello", target="/jobs?wait=1.5") + b"GET /jobs HTTP/1.1\r\nHo")
        assert raw.answer().status == 202
        assert raw.ended()


def test_an_upgrade_without_a_body_is_answered_plainly_and_ends(door: Door) -> None:
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: aaaa")
    with door.raw() as raw:
        raw.send(head("GET /jobs HTTP/1.1", "Host: door", *upgrade) + GET)
        answer = raw.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert raw.ended()


# Answers
def test_a_reader_that_does_not_read_is_cut_off(door: Door) -> None:
    with door.raw() as raw:
        raw.send(head("GET /big HTTP/1.1", "Host: door"))
        until(lambda: door.refused("slow_reader"), "slow reader noticed", within=5)


def test_a_slow_but_steady_reader_is_not_cut_off(door: Door) -> None:
    with door.raw() as raw:
        raw.send(head("GET /big HTTP/1.1", "Host: door"))
        raw.read_slowly(20_000, every=0.05, during=4)
    assert not door.refused("slow_reader")


def test_a_reader_that_reads_gets_all_of_a_large_answer(door: Door) -> None:
    with door.raw() as raw:
        raw.send(head("GET /big HTTP/1.1", "Host: door"))
        assert len(raw.answer().body) == 20 * 1024 * 1024


@pytest.mark.parametrize("given", ["mine-1", "with space", "x" * 128])
def test_a_printable_request_id_is_adopted(door: Door, given: str) -> None:
    answer = door.exchange(head("GET /jobs HTTP/1.1", "Host: door", f"X-Request-Id: {given}"))
    assert answer.headers["x-request-id"] == answer.json["id"] == given


@pytest.mark.parametrize("given", ["", "x" * 129, "caf\xe9", "a\tb"])
def test_any_other_request_id_is_replaced(door: Door, given: str) -> None:
    answer = door.exchange(head("GET /jobs HTTP/1.1", "Host: door", f"X-Request-Id: {given}"))
    assert answer.status == 200
    assert answer.headers["x-request-id"] == answer.json["id"] != given
    assert len(answer.headers["x-request-id"]) == 36


def test_a_crash_of_the_application_is_answered_in_the_contracts_form(door: Door) -> None:
    assert_is_refusal(door.exchange(head("GET /broken HTTP/1.1", "Host: door")), 500)


def test_a_client_that_leaves_after_its_request_still_has_its_job(door: Door) -> None:
    with door.raw() as raw:
        raw.send(post(b"hello", target="/jobs?wait=0.3"))
        until(lambda: "body 5" in door.since_mark(), "body read")
    until(door.jobs, "job made")
    assert door.jobs() == [job_line(b"hello")]


def test_a_client_that_leaves_with_requests_in_the_pipeline_disturbs_nothing(door: Door) -> None:
    with door.raw() as raw:
        raw.send(post(b"hello", target="/jobs?wait=0.2") + post(b"never read"))
        until(lambda: "body 5" in door.since_mark(), "first body read")
    until(door.jobs, "first job made")
    assert door.jobs() == [job_line(b"hello")]  # and no error in the log, as always here


# An application that takes every end for the end of the body
def test_the_guard_answers_even_if_the_application_swallows_the_error(tmp_path: Path) -> None:
    with Door(tmp_path, **SHORT, reraises=0) as door:
        assert_is_refusal(door.exchange(post(b"hello", length=10)), 408)
        assert_is_refusal(door.exchange(chunked(*[bytes(100_000)] * 11)), 413)
        assert not door.jobs()


# Bounds
@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    bounds = {"max_connections": 50, "max_pipelined": 100, "max_requests": 3, "max_bytes": 1000, "body_grace": 60}
    with Door(tmp_path_factory.mktemp("small"), **(SHORT | bounds)) as door:
        yield door


def assert_is_busy(answer: Answer, bound: str) -> None:
    assert_is_refusal(answer, 503)
    assert answer.headers["retry-after"] == "1"
    assert bound in answer.json["error"]["message"]


def test_requests_above_the_bound_get_503_and_room_comes_back(small: Door) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(small.raw()).send(post(b"h", length=10))
        until(lambda: small.post().status == 503, "all places taken")
        assert_is_busy(small.post(), "3 requests")
    until(lambda: small.post().status == 202, "places free again")


def test_bytes_above_the_bound_get_503_and_room_comes_back(small: Door) -> None:
    with small.raw() as holder:
        holder.send(post(bytes(900), length=950))
        until(lambda: small.post(bytes(200)).status == 503, "bytes held")
        assert_is_busy(small.post(bytes(200)), "1000 body bytes")
        assert_is_busy(small.exchange(chunked(bytes(60), bytes(60))), "1000 body bytes")
        assert small.post(b"small ones pass").status == 202
    until(lambda: small.post(bytes(200)).status == 202, "bytes free again")


@pytest.mark.parametrize("first", [b"", GET], ids=["silent", "idle"])
def test_a_flood_of_connections_leaves_normal_clients_served(small: Door, first: bytes) -> None:
    small.mark()
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            raw = stack.enter_context(Raw(small.port))
            if first:
                with contextlib.suppress(ConnectionError):
                    raw.send(first)
                    raw.answer()
        statuses = [small.post().status for _ in range(60)]
    assert statuses == [202] * 60
    assert small.refused("connection_cap")


def test_pipelined_requests_above_the_bound_are_not_kept(small: Door) -> None:
    small.mark()
    with small.raw() as raw:
        raw.send(post(b"slow", target="/jobs?wait=0.3") + GET * 1000)
        answers = 0
        while raw.answer().status:
            answers += 1
    assert small.refused("pipeline_full")
    assert answers == 101
    for _ in range(3):
        with small.raw() as raw:
            raw.send(post(b"slow", target="/jobs?wait=0.2") + GET * 60)
            assert raw.answer().status == 202
    with small.raw() as raw:
        raw.send(GET * 100)
        assert [raw.answer().status for _ in range(100)] == [200] * 100


# Start and stop
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_with_a_silent_connection_is_quick_and_orderly(tmp_path: Path, number: int) -> None:
    with Door(tmp_path, **(SHORT | {"head_timeout": 60})) as door, door.raw() as silent:
        assert door.post().status == 202
        began = time.monotonic()
        assert door.stop(number) == 0
        assert time.monotonic() - began < 4
        assert silent.ended()
        assert door.lines()[-2] == "stopped"
        assert door.lines()[-1].startswith("exited ")
        assert "was sent" not in door.log()  # gunicorn's words for a process that died by a signal


def test_a_stop_serves_what_is_under_way_and_what_a_fresh_connection_brings(tmp_path: Path) -> None:
    with Door(tmp_path, **(SHORT | {"stop_grace": 3})) as door, door.raw() as busy, door.raw() as fresh:
        busy.send(post(b"busy", target="/jobs?wait=1"))
        until(lambda: "body 4" in door.lines(), "request under way")
        door.process.send_signal(signal.SIGTERM)
        until(lambda: not listens(door.port), "no new connections")
        fresh.send(post(b"fresh"))
        answers = [fresh.answer(), busy.answer()]
        assert [answer.status for answer in answers] == [202, 202]
        assert [answer.headers["connection"] for answer in answers] == ["close", "close"]
        assert door.process.wait(10) == 0


def listens(port: int) -> bool:
    with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def test_a_stop_with_a_reader_that_does_not_read_ends_in_time(tmp_path: Path) -> None:
    with Door(tmp_path, **(SHORT | {"write_interval": 60, "graceful_timeout": 3})) as door, door.raw() as raw:
        raw.send(head("GET /big HTTP/1.1", "Host: door"))
        assert raw.next_line().startswith(b"HTTP/1.1 200")
        assert door.stop() == 0
        assert "stopped" in door.lines()


def test_the_server_processes_leave_when_the_master_is_killed(tmp_path: Path) -> None:
    with Door(tmp_path, **SHORT) as door:
        process = door.post().json["pid"]
        assert process != door.process.pid
        door.process.kill()
        until(lambda: not Path(f"/proc/{process}").exists(), "server process gone")
        assert "stopped" in door.lines()
        assert not listens(door.port)


def test_a_killed_server_process_is_replaced_and_reported(tmp_path: Path) -> None:
    with Door(tmp_path, **SHORT, processes=2) as door:
        killed = door.post().json["pid"]
        os.kill(killed, signal.SIGKILL)
        until(lambda: f"exited {killed}" in door.lines() and door.count("started") == 3, "replaced")
        assert door.post().status == 202
        assert door.stop() == 0


def test_a_busy_port_is_one_clear_line_and_exit_code_1(running: Door, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.door_app", str(running.port), str(tmp_path / "journal")]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=10)
    assert done.returncode == 1
    assert done.stderr == (
        f"cannot listen on 127.0.0.1:{running.port} (Address already in use): "
        "stop what uses it, or choose another port\n"
    )


def test_an_application_that_does_not_start_ends_the_server_with_code_3(tmp_path: Path) -> None:
    late = Door(tmp_path, **SHORT, startup_seconds=60, startup_timeout=0.3)
    assert late.process.wait(10) == 3
    assert "did not start within 0.3 s" in late.log()
    assert "Traceback" not in late.log()
