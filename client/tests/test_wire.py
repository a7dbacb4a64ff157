"""Both clients over real sockets: what a transport in memory cannot show."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from coatcheck_client import Unreachable, WaitTimeout
from coatcheck_client.testing import FakeServer, listening


@contextmanager
def raw(answer: bytes, drip: bytes = b"") -> Iterator[str]:
    """A port that says `answer` to each connection and then drips, byte by byte, until it is closed."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while not done.is_set():
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    drip_on(connection)

        def drip_on(connection: socket.socket) -> None:
            try:
                connection.recv(65536)
                connection.sendall(answer)
                while drip and not done.wait(0.02):
                    connection.sendall(drip)
            except OSError:
                pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        done.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_the_whole_path_works_over_a_socket(open_client: Any, server: FakeServer) -> None:
    server.polls = 1
    with listening(server) as url:
        client = open_client(url=url)
        assert client.result(client.submit("embeddings", {"input": "größe"})) == {"echo": {"input": "größe"}}
        assert len(list(client.map([("ocr", {"n": n}) for n in range(10)], in_flight=4))) == 10


def test_a_large_result_arrives_whole(open_client: Any, server: FakeServer) -> None:
    server.answer = lambda request_type, body: "x" * 20_000_000
    with listening(server) as url:
        client = open_client(url=url)
        assert len(client.result(client.submit("embeddings", {}))) == 20_000_000


def test_a_refused_connection_is_unreachable_and_names_the_server(open_client: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(Unreachable, match=f"no answer from http://127.0.0.1:{port}"):
        open_client(url=f"http://127.0.0.1:{port}").submit("embeddings", {})


def test_a_cut_answer_is_unreachable_and_never_a_job(open_client: Any) -> None:
    cut = b'HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n{"id":"i","status":"pending"}'
    with raw(cut) as url, pytest.raises(Unreachable):
        open_client(url=url).submit("embeddings", {})


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    open_client: Any, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with listening(server) as url:
        assert open_client(url=url).submit("embeddings", {}).status == "pending"


def test_a_server_that_drips_does_not_hold_a_wait_beyond_its_time(open_client: Any) -> None:
    with raw(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100000\r\n\r\n", drip=b" ") as url:
        client = open_client(url=url)
        start = time.monotonic()
        with pytest.raises(WaitTimeout):
            client.wait("embeddings/i", timeout=0.1)
        assert time.monotonic() - start < 10
