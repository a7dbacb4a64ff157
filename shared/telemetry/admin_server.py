"""The operators' port: metrics, health and the status page, on daemon threads, whatever the event loop does."""

import logging
import os
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from email.message import Message
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple, Protocol

from shared.domain.errors import SettingsError
from shared.telemetry.supervised import supervised_thread

MAX_CONNECTIONS = 8
"""More drop the oldest one: a scraper that hangs must not keep the others out."""
CONNECTION_SECONDS = 10.0
"""A whole exchange may take this long; overlong ones are looked for every TICK_SECONDS."""
TICK_SECONDS = 1.0
_READ_SECONDS = 5.0
_PATHS = ("/metrics", "/livez", "/readyz")

log = logging.getLogger(__name__)


class Answer(NamedTuple):
    status: int
    media_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class Page(Protocol):
    @property
    def open(self) -> bool:
        """Whether the index should name it."""

    def answer(self, path: str, headers: Message) -> Answer | None:
        """The answer to a GET, on one of the server's threads; None for a path that is not its own."""


class AdminServer:
    """Listens from its construction on. Port 0 picks a free one; `port` tells which.

    `metrics` renders all metrics, `stalled` says why the process should be restarted, `problems` why it is not ready;
    all three are called on this server's threads.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        component: str,
        metrics: Callable[[], tuple[bytes, str]],
        stalled: Callable[[], list[str]],
        problems: Callable[[], list[str]],
        page: Page | None = None,
    ) -> None:
        self._page = page
        self._component = component
        self._metrics = metrics
        self._stalled = stalled
        self._problems = problems
        try:
            self._server = _Server(host, port, self._answer)
        except OSError as error:
            remedy = "choose another --admin-port, 0 picks one"
            raise SettingsError(f"cannot listen for operators on {host}:{port} ({error.strerror}): {remedy}") from None
        self.host = host
        self.port: int = self._server.server_address[1]
        # A forked worker must not keep the port open when the master that answers on it is gone.
        os.register_at_fork(after_in_child=self._server.socket.close)
        supervised_thread("admin", partial(self._server.serve_forever, TICK_SECONDS)).start()
        log.info("metrics and health of the %s on http://%s:%d", component, host, self.port)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, path: str, headers: Message) -> Answer:
        if path == "/metrics":
            body, media_type = self._metrics()
            return Answer(HTTPStatus.OK, media_type, body)
        if path in ("/livez", "/readyz"):
            complaints = self._stalled() if path == "/livez" else self._problems()
            return _text(HTTPStatus.SERVICE_UNAVAILABLE, *complaints) if complaints else _text(HTTPStatus.OK, "ok")
        if self._page and (answer := self._page.answer(path, headers)):
            return answer
        paths = (*_PATHS, "/status") if self._page and self._page.open else _PATHS
        if path == "/":
            return _text(HTTPStatus.OK, f"coatcheck {self._component}", *paths)
        return _text(HTTPStatus.NOT_FOUND, "not found: " + " ".join(paths))


def _text(status: int, *lines: str) -> Answer:
    return Answer(status, "text/plain; charset=utf-8", "".join(f"{line}\n" for line in lines).encode())


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 32

    def __init__(self, host: str, port: int, answer: Callable[[str, Message], Answer]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.answer = answer
        self._since: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        super().__init__((host, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            if len(self._since) >= MAX_CONNECTIONS:
                _hang_up(min(self._since, key=self._since.__getitem__))
            refused = len(self._since) >= 2 * MAX_CONNECTIONS  # those that were dropped are still on their way out
            if not refused:
                self._since[request] = time.monotonic()
        if refused:
            super().shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        threading.current_thread().name = "admin-request"
        super().process_request_thread(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._since.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        oldest = time.monotonic() - CONNECTION_SECONDS
        with self._lock:
            for request, since in self._since.items():
                if since < oldest:
                    _hang_up(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("exchange on the admin port broke off", exc_info=True)


def _hang_up(connection: socket.socket) -> None:
    """Wakes the thread that serves this connection; it cleans up itself."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        log.debug("connection on the admin port was gone already")


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _READ_SECONDS

    def do_GET(self) -> None:
        try:
            answer = self.server.answer(self.path.partition("?")[0], self.headers)
        except Exception:
            log.exception("the admin port cannot answer")
            answer = _text(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error, see the log")
        self._send(answer)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Plain text in place of the library's page; a method that is not there is refused, not unknown."""
        status = HTTPStatus.METHOD_NOT_ALLOWED if code == HTTPStatus.NOT_IMPLEMENTED else HTTPStatus(code)
        self.close_connection = True
        self._send(_text(status, f"{status.value} {status.phrase}"))

    def version_string(self) -> str:
        return "coatcheck"  # no version for strangers

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes and probes are no news."""

    def _send(self, answer: Answer) -> None:
        status, media_type, body, headers = answer
        self.send_response(status)
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET")
        self.send_header("Content-Type", media_type)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
