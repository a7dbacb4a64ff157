"""The door on the real server: what one process holds at most, and how it starts and stops."""

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

from tests.support.ingress.server import (
    GET,
    ROOT,
    SHORT,
    Answer,
    IngressServer,
    Raw,
    assert_is_refusal,
    chunked,
    head,
    post,
    until,
)


# Bounds
@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IngressServer]:
    bounds = {"max_connections": 50, "max_pipelined": 100, "max_requests": 3, "max_bytes": 1000, "body_grace": 60}
    with IngressServer(tmp_path_factory.mktemp("small"), **(SHORT | bounds)) as door:
        yield door


def assert_is_busy(answer: Answer, bound: str) -> None:
    assert_is_refusal(answer, 503)
    assert answer.headers["retry-after"] == "1"
    assert bound in answer.json["error"]["message"]


def test_requests_above_the_bound_get_503_and_room_comes_back(small: IngressServer) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(small.raw()).send(post(b"h", length=10))
        until(lambda: small.post().status == 503, "all places taken")
        assert_is_busy(small.post(), "3 requests")
    until(lambda: small.post().status == 202, "places free again")


def test_bytes_above_the_bound_get_503_and_room_comes_back(small: IngressServer) -> None:
    with small.raw() as holder:
        holder.send(post(bytes(900), length=950))
        until(lambda: small.post(bytes(200)).status == 503, "bytes held")
        assert_is_busy(small.post(bytes(200)), "1000 body bytes")
        assert_is_busy(small.exchange(chunked(bytes(60), bytes(60))), "1000 body bytes")
        assert small.post(b"small ones pass").status == 202
    until(lambda: small.post(bytes(200)).status == 202, "bytes free again")


@pytest.mark.parametrize("first", [b"", GET], ids=["silent", "idle"])
def test_a_flood_of_connections_leaves_normal_clients_served(small: IngressServer, first: bytes) -> None:
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


def test_pipelined_requests_above_the_bound_are_not_kept(small: IngressServer) -> None:
    small.mark()
    with small.raw() as raw:
        raw.send(post(b"slow", target="/jobs?wait=0.3") + GET * 1000)
        statuses = [answer.status for answer in iter(raw.answer, Answer(0, {}, b""))]
    assert small.refused("pipeline_full")
    assert statuses == [202, *[200] * 100, 503]
    for _ in range(3):
        with small.raw() as raw:
            raw.send(post(b"slow", target="/jobs?wait=0.2") + GET * 60)
            assert raw.answer().status == 202
    with small.raw() as raw:
        raw.send(GET * 100)
        assert [raw.answer().status for _ in range(100)] == [200] * 100


def test_pipelined_requests_whose_target_cannot_be_read_leave_room_for_others(small: IngressServer) -> None:
    small.mark()
    for _ in range(110):
        with small.raw() as raw:
            raw.send(post(b"slow", target="/jobs?wait=0.02") + head("GET http://a HTTP/1.1", "Host: door"))
            raw.answer()
    with small.raw() as raw:
        raw.send(post(b"slow", target="/jobs?wait=0.2") + GET * 60)
        assert [raw.answer().status for _ in range(61)] == [202, *[200] * 60]
    assert not small.refused("pipeline_full")


# Start and stop
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_with_a_silent_connection_is_quick_and_orderly(tmp_path: Path, number: int) -> None:
    with IngressServer(tmp_path, **(SHORT | {"head_timeout": 60})) as door, door.raw() as silent:
        assert door.post().status == 202
        began = time.monotonic()
        assert door.stop(number) == 0
        assert time.monotonic() - began < 4
        assert silent.ended()
        assert door.lines()[-2] == "stopped"
        assert door.lines()[-1].startswith("exited ")
        assert "was sent" not in door.log()  # gunicorn's words for a process that died by a signal


def test_a_stop_serves_what_is_under_way_and_what_a_fresh_connection_brings(tmp_path: Path) -> None:
    with IngressServer(tmp_path, **(SHORT | {"stop_grace": 3})) as door, door.raw() as busy, door.raw() as fresh:
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
    with IngressServer(tmp_path, **(SHORT | {"write_interval": 60, "graceful_timeout": 3})) as door, door.raw() as raw:
        raw.send(head("GET /big HTTP/1.1", "Host: door"))
        assert raw.next_line().startswith(b"HTTP/1.1 200")
        assert door.stop() == 0
        assert "stopped" in door.lines()


def test_the_server_processes_leave_when_the_master_is_killed(tmp_path: Path) -> None:
    with IngressServer(tmp_path, **SHORT) as door:
        process = door.post().json["pid"]
        assert process != door.process.pid
        door.process.kill()
        until(lambda: not Path(f"/proc/{process}").exists(), "server process gone")
        assert "stopped" in door.lines()
        assert not listens(door.port)


def test_a_killed_server_process_is_replaced_and_reported(tmp_path: Path) -> None:
    with IngressServer(tmp_path, **SHORT, processes=2) as door:
        killed = door.post().json["pid"]
        os.kill(killed, signal.SIGKILL)
        until(lambda: f"exited {killed}" in door.lines() and door.count("started") == 3, "replaced")
        assert door.post().status == 202
        assert door.stop() == 0


def test_a_busy_port_is_one_clear_line_and_exit_code_1(small: IngressServer, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.ingress.app", str(small.port), str(tmp_path / "journal")]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=10)
    assert done.returncode == 1
    assert done.stderr == (
        f"cannot listen on 127.0.0.1:{small.port} (Address already in use): stop what uses it, or choose another port\n"
    )


def test_an_application_that_does_not_start_ends_the_server_with_code_1(tmp_path: Path) -> None:
    late = IngressServer(tmp_path, **SHORT, startup_seconds=60, startup_timeout=0.3)
    assert late.process.wait(10) == 1
    assert "did not start within 0.3 s" in late.log()
    assert "Traceback" not in late.log()
