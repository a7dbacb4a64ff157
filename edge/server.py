"""Serves an ASGI application with gunicorn: this is the master process, which listens, starts the server processes and
watches over them. What needs uvicorn is imported after the fork, in the server processes alone.
"""

from __future__ import annotations

import importlib
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.workers.base import Worker

if TYPE_CHECKING:
    from edge.asgi_types import ASGIApp
    from edge.limits import ConnectionLimits

AppFactory = Callable[[], "ASGIApp"]

BACKLOG = 2048
PROCESS_TIMEOUT = 30
"""Seconds after which a server process whose event loop does not turn is killed and replaced."""
_UNSENT_IN_KERNEL = 128 * 1024
"""Bytes that the kernel takes of an answer before they go out. By default it takes megabytes: they would hide from us
whether a slow client reads at all, and every client that does not would hold them."""
_SPARE_FILES = 256
"""File descriptors left for everything that is not a client's connection."""
_ENOUGH_FILES = 65536

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What `serve` was asked for; the server processes inherit it by the fork."""

    app: AppFactory
    processes: int
    graceful_timeout: float
    startup_timeout: float
    limits: ConnectionLimits | None
    on_refuse: Callable[[str], None]
    on_ready: Callable[[], None]
    on_process_exit: Callable[[int], None]
    name: str


def serve(
    app: str | AppFactory,
    *,
    host: str,
    port: int,
    processes: int = 1,
    graceful_timeout: float = 25.0,
    startup_timeout: float = 30.0,
    limits: ConnectionLimits | None = None,
    on_refuse: Callable[[str], None] = lambda reason: None,
    on_ready: Callable[[], None] = lambda: None,
    on_process_exit: Callable[[int], None] = lambda pid: None,
    name: str = "coatcheck-edge",
) -> NoReturn:
    """Serve until SIGTERM or Ctrl-C, then end by SystemExit: 0 after a graceful stop, 1 if the port cannot be had, 3 if
    the application does not start.

    `app` makes the ASGI application, once in each server process: a callable, or its name as "module:callable".
    `on_refuse` gets the reason of each connection-level refusal and runs in the server processes; `on_ready` (the port
    is open, nothing is forked yet) and `on_process_exit` (with the pid) run in the master. Time-outs are in seconds: a
    request under way at the stop gets `graceful_timeout`, the application's start `startup_timeout`. Port 0 takes a
    free one.
    """
    listener = _listen(host, port)
    _allow_many_files()
    options = ServeOptions(
        app=_named(app) if isinstance(app, str) else app,
        processes=processes,
        graceful_timeout=graceful_timeout,
        startup_timeout=startup_timeout,
        limits=limits,
        on_refuse=on_refuse,
        on_ready=on_ready,
        on_process_exit=on_process_exit,
        name=name,
    )
    _Application(options, listener).run()
    sys.exit(0)


def spare_connections(wanted: int) -> int:
    """How many of `wanted` connections the limit on open files leaves room for."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - _SPARE_FILES))


def _listen(host: str, port: int) -> socket.socket:
    """Bind before gunicorn is asked to: it would try five times and end with a traceback."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_IN_KERNEL)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        sys.exit(f"cannot listen on {host}:{port} ({error.strerror}): stop what uses it, or choose another port")
    return listener


def _allow_many_files() -> None:
    """Raise the limit on open files as far as allowed: every connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _ENOUGH_FILES if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _named(target: str) -> AppFactory:
    module, _, attribute = target.partition(":")

    def make() -> ASGIApp:
        app: ASGIApp = getattr(importlib.import_module(module), attribute)()
        return app

    return make


class _Arbiter(Arbiter):  # type: ignore[misc]
    """gunicorn's master, where Ctrl-C is as graceful as SIGTERM; a second one is not."""

    def handle_int(self) -> None:
        self.handle_term()


class _Logger(Logger):  # type: ignore[misc]
    """gunicorn's own lines go where all lines of the process go."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.setLevel(logging.NOTSET)
        self.error_log.propagate = True


class _Application(BaseApplication):  # type: ignore[misc]
    """gunicorn's view of what it runs."""

    def __init__(self, options: ServeOptions, listener: socket.socket) -> None:
        self.options = options
        self._address = listener.getsockname()[:2]
        self._listener_fd = listener.detach()
        super().__init__()

    def load_config(self) -> None:
        options = self.options
        settings: dict[str, Any] = {
            "bind": [f"fd://{self._listener_fd}"],
            "workers": options.processes,
            "worker_class": ServerProcess,
            "timeout": PROCESS_TIMEOUT,
            "graceful_timeout": max(1, round(options.graceful_timeout)),
            "backlog": BACKLOG,
            "proc_name": options.name,
            "logger_class": _Logger,
            "control_socket_disable": True,
            "when_ready": self._when_ready,
            "child_exit": self._child_exit,
        }
        if os.access("/dev/shm", os.W_OK):  # noqa: S108 - gunicorn makes unnamed files in it
            settings["worker_tmp_dir"] = "/dev/shm"  # noqa: S108 - a slow disk must not look like a dead process
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> ASGIApp:
        return self.options.app()

    def run(self) -> None:
        _Arbiter(self).run()

    def _when_ready(self, server: Any) -> None:
        host, port = self._address
        logger.info("the API listens on http://%s:%d", f"[{host}]" if ":" in host else host, port)
        self.options.on_ready()

    def _child_exit(self, server: Any, worker: Any) -> None:
        self.options.on_process_exit(worker.pid)


class ServerProcess(Worker):  # type: ignore[misc]
    """gunicorn's worker: one process that serves."""

    def init_signals(self) -> None:
        """Undo the master's handlers; the event loop installs those that count."""
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # gunicorn's order to reopen log files: there are none

    def run(self) -> None:
        from edge.server_process import run  # noqa: PLC0415 - uvicorn's 5 MB stay out of the master

        sockets = [listener.sock for listener in self.sockets]
        run(self.wsgi, self.app.options, master=self.ppid, notify=self.notify, sockets=sockets)
