"""When an edge refuses to start, and how its readiness reaches the admin port."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from coatcheck.cli.run import edge_master
from coatcheck.dev.ports import free_ports
from shared.domain.errors import SettingsError, StoreUnavailable
from shared.settings.reading import load_settings
from shared.settings.table import Settings


def settings(**flags: Any) -> Settings:
    return load_settings(flags, environ={})


def database_with(monkeypatch: pytest.MonkeyPatch, answer: bool | Exception) -> None:
    async def has_keys(_: Settings) -> bool:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(edge_master, "_has_keys", has_keys)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_an_address_that_only_this_machine_reaches_needs_no_key(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database_with(monkeypatch, AssertionError("nobody should have asked"))
    edge_master.refuse_useless_port(settings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "api.example", ""])
def test_an_address_that_others_reach_is_refused_without_keys_and_both_ways_out_are_named(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database_with(monkeypatch, False)
    with pytest.raises(SettingsError) as refused:
        edge_master.refuse_useless_port(settings(host=host))
    assert "coatcheck keys create NAME" in str(refused.value)
    assert "COATCHECK_ALLOW_ANONYMOUS=true" in str(refused.value)


def test_a_key_or_the_decision_to_do_without_opens_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    database_with(monkeypatch, True)
    edge_master.refuse_useless_port(settings(host="0.0.0.0"))
    database_with(monkeypatch, AssertionError("nobody should have asked"))
    edge_master.refuse_useless_port(settings(host="0.0.0.0", allow_anonymous=True))
    edge_master.refuse_useless_port(settings(host="0.0.0.0", start_without_keys=True))


def test_an_edge_may_start_before_its_database_for_it_refuses_strangers_anyway(monkeypatch: pytest.MonkeyPatch) -> None:
    database_with(monkeypatch, StoreUnavailable("no primary"))
    edge_master.refuse_useless_port(settings(host="0.0.0.0"))


@contextmanager
def api(status: int, body: bytes) -> Iterator[int]:
    """An API whose /readyz gives this answer; its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", ""])
def test_a_ready_api_has_no_problems(host: str) -> None:
    with api(200, b'{"status":"ok"}') as port:
        assert edge_master.probe(host, port) == []


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b'{"error":{"message":"MongoDB does not answer"}}', "edge: MongoDB does not answer"),
        (b"", "edge: Service Unavailable"),
        (b"\xff", "edge: Service Unavailable"),
        (b'{"error":"x"}', "edge: Service Unavailable"),
        (b"[1]", "edge: Service Unavailable"),
    ],
)
def test_what_the_api_says_is_passed_on(body: bytes, problem: str) -> None:
    with api(503, body) as port:
        assert edge_master.probe("127.0.0.1", port) == [problem]


def test_an_api_that_is_not_there_is_a_problem() -> None:
    (port,) = free_ports(1)
    assert edge_master.probe("127.0.0.1", port) == [
        f"edge: the API on 127.0.0.1:{port} does not answer: ConnectionRefusedError"
    ]
