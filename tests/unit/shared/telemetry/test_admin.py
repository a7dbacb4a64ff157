"""The operators' port: what it answers, what it refuses, and that nobody can keep the others out."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator

import pytest

from shared.domain.errors import SettingsError
from shared.telemetry import admin_server
from shared.telemetry.admin_server import AdminServer


class Process:
    """What the admin port asks."""

    def __init__(self) -> None:
        self.stalled: list[str] = []
        self.problems: list[str] = []
        self.broken = False

    def metrics(self) -> tuple[bytes, str]:
        if self.broken:
            raise RuntimeError("a detail that is nobody's business")
        return b"coatcheck_jobs 1\n", "text/plain; version=1.0.0"


@pytest.fixture
def process() -> Process:
    return Process()


@pytest.fixture
def server(process: Process, monkeypatch: pytest.MonkeyPatch) -> Iterator[AdminServer]:
    monkeypatch.setattr(admin_server, "TICK_SECONDS", 0.02)
    server = AdminServer(
        "127.0.0.1",
        0,
        component="worker",
        metrics=process.metrics,
        stalled=lambda: process.stalled,
        problems=lambda: process.problems,
    )
    yield server
    server.close()


def ask(server: AdminServer, path: str, method: str = "GET") -> tuple[int, str, http.client.HTTPResponse]:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer
    finally:
        connection.close()


def test_metrics_come_with_their_media_type(server: AdminServer) -> None:
    status, body, answer = ask(server, "/metrics?name=x")
    assert (status, body) == (200, "coatcheck_jobs 1\n")
    assert answer.headers["Content-Type"] == "text/plain; version=1.0.0"


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_a_healthy_process_says_ok(server: AdminServer, path: str) -> None:
    assert ask(server, path)[:2] == (200, "ok\n")


def test_each_probe_tells_its_own_complaints(server: AdminServer, process: Process) -> None:
    process.problems = ["worker: mongodb: no primary", "worker: kafka: away"]
    assert ask(server, "/readyz")[:2] == (503, "worker: mongodb: no primary\nworker: kafka: away\n")
    assert ask(server, "/livez")[0] == 200
    process.stalled = ["worker: its loop has not turned for 40 s"]
    assert ask(server, "/livez")[0] == 503


def test_the_index_names_the_component_and_the_paths(server: AdminServer) -> None:
    assert ask(server, "/")[:2] == (200, "coatcheck worker\n/metrics\n/livez\n/readyz\n")


@pytest.mark.parametrize("path", ["/metric", "/metrics/", "/..", "/%00"])
def test_anything_else_is_not_found(server: AdminServer, path: str) -> None:
    assert ask(server, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "HEAD", "DELETE", "FOO"])
def test_only_get_is_allowed(server: AdminServer, method: str) -> None:
    status, _, answer = ask(server, "/metrics", method)
    assert (status, answer.headers["Allow"]) == (405, "GET")


def test_an_error_in_here_is_told_without_its_detail(server: AdminServer, process: Process) -> None:
    process.broken = True
    status, body, _ = ask(server, "/metrics")
    assert (status, body) == (500, "internal error, see the log\n")


def test_silent_connections_do_not_keep_a_probe_out(server: AdminServer) -> None:
    silent = [socket.create_connection((server.host, server.port)) for _ in range(3 * admin_server.MAX_CONNECTIONS)]
    try:
        # A probe is repeated, so one that meets connections still on their way out may be turned away.
        assert any(_answers(server) for _ in range(50))
    finally:
        for connection in silent:
            connection.close()


def _answers(server: AdminServer) -> bool:
    try:
        return ask(server, "/livez")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def test_a_connection_that_drips_is_dropped(monkeypatch: pytest.MonkeyPatch, server: AdminServer) -> None:
    monkeypatch.setattr(admin_server, "CONNECTION_SECONDS", 0.2)
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX-Drip: ")
        assert connection.recv(1) == b""


def test_garbage_gets_a_short_answer(server: AdminServer) -> None:
    with socket.create_connection((server.host, server.port), timeout=10) as connection:
        connection.sendall(b"\x16\x03\x01 garbage\r\n\r\n")
        assert b"400 Bad Request" in connection.recv(4096)


def test_a_busy_port_is_told_with_the_way_out(server: AdminServer) -> None:
    with pytest.raises(SettingsError, match=f"127.0.0.1:{server.port}.*--admin-port, 0 picks one"):
        AdminServer("127.0.0.1", server.port, component="edge", metrics=lambda: (b"", ""), stalled=list, problems=list)


def test_an_address_of_another_machine_is_told(process: Process) -> None:
    with pytest.raises(SettingsError, match=r"192\.0\.2\.1:0"):
        AdminServer("192.0.2.1", 0, component="edge", metrics=process.metrics, stalled=list, problems=list)
