"""The master process: listens, starts the server processes and watches over them. Only they import uvicorn.

At SIGHUP gunicorn would stop the old processes while the new ones load, so that none accepts, and at SIGINT drop
requests. So `Master` overrides parts of its Arbiter that are not documented: handle_int, handle_hup, manage_workers,
reap_workers, and uses WORKERS, num_workers, spawn_worker, kill_worker, handle_term and cfg.
tests/unit/edge/server/test_upgrades.py fails when an upgrade changes the code of what is overridden.
"""

from __future__ import annotations

import logging
import mmap
import os
import pkgutil
import resource
import signal
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from gunicorn.glogging import Logger
from gunicorn.workers.base import Worker

from edge.server.options import BACKLOG, BAD_SETTINGS_EXIT, ServeOptions
from shared.domain.errors import SettingsError

if TYPE_CHECKING:
    from edge.ingress.asgi_types import ASGIApp
    from edge.ingress.limits import ConnectionLimits

FAILED, BAD_SETTINGS = 1, 2
"""Exit codes of the whole edge when no server process starts."""
PROCESS_TIMEOUT = 30
"""Seconds after which a server process whose event loop does not turn is killed and replaced."""
_UNSENT_IN_KERNEL = 128 * 1024
"""Bytes that the kernel takes of an answer before they go out. By default it takes megabytes: they would hide from us
whether a slow client reads at all, and every client that does not would hold them."""
_ENOUGH_FILES = 65536

logger = logging.getLogger(__name__)


def serve(
    app: str | Callable[[], ASGIApp],
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
) -> NoReturn:
    """Serve until SIGTERM or Ctrl-C, then end by SystemExit: 0 after a graceful stop, 1 if the port cannot be had or
    the application does not start, 2 if that is for its settings. SIGHUP replaces the server processes by new ones.

    `app` makes the ASGI application in each server process: a callable, or its name as "module:callable". `on_refuse`
    gets the reason of each connection-level refusal there; `on_ready` (the port is open, nothing is forked yet) and
    `on_process_exit` (with the pid) run in the master. Time-outs are in seconds.
    """
    listener = _listen(host, port)
    host, port = listener.getsockname()[:2]
    _allow_many_files()

    def when_ready(server: Any) -> None:
        logger.info("the API listens on http://%s:%d", f"[{host}]" if ":" in host else host, port)
        on_ready()

    settings = {
        "bind": [f"fd://{listener.detach()}"],
        "workers": processes,
        "graceful_timeout": max(1, round(graceful_timeout)),
        "when_ready": when_ready,
        "child_exit": lambda server, worker: on_process_exit(worker.pid),
    }
    options = ServeOptions(app, graceful_timeout, startup_timeout, limits, on_refuse)
    _Application(options, settings).run()
    sys.exit(0)


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
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _ENOUGH_FILES if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class _Logger(Logger):  # type: ignore[misc]
    """gunicorn's lines go where all lines of the process go."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.setLevel(logging.NOTSET)
        self.error_log.propagate = True


class _Application(BaseApplication):  # type: ignore[misc]
    def __init__(self, options: ServeOptions, settings: dict[str, Any]) -> None:
        self.options = options
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        fixed: dict[str, Any] = {
            "worker_class": ServerProcess,
            "timeout": PROCESS_TIMEOUT,
            "backlog": BACKLOG,
            "proc_name": "coatcheck-edge",
            "logger_class": _Logger,
            "control_socket_disable": True,
        }
        if os.access("/dev/shm", os.W_OK):  # noqa: S108 - gunicorn makes unnamed files in it
            fixed["worker_tmp_dir"] = "/dev/shm"  # noqa: S108 - a slow disk must not look like a dead process
        for name, value in (fixed | self._settings).items():
            self.cfg.set(name, value)

    def load(self) -> ASGIApp:
        app = self.options.app
        make: Callable[[], ASGIApp] = pkgutil.resolve_name(app) if isinstance(app, str) else app
        return make()

    def run(self) -> None:
        Master(self).run()


class Master(Arbiter):  # type: ignore[misc]
    """Ctrl-C is as graceful as SIGTERM; a second one is not. SIGHUP replaces all server processes.

    They share one listening socket: a connection that is not accepted yet waits for the next process that listens.
    """

    def handle_int(self) -> None:
        self.handle_term()

    def handle_hup(self) -> None:
        """Begin a hand-over; `manage_workers` ends it. One that is overtaken by another is given up."""
        logger.info("SIGHUP: handing over to %d new server processes", self.num_workers)
        for process in self.WORKERS.values():
            process.replaced = True
            if not process.listens:
                self._tell_to_leave(process)
        self.manage_workers()

    def manage_workers(self) -> None:
        """Start what is missing, end what is replaced or too many: each second and after each signal."""
        current = [process for process in self.WORKERS.values() if not process.replaced]
        for _ in range(self.num_workers - len(current)):
            self.spawn_worker()
        for process in sorted(current, key=lambda process: process.age)[: len(current) - self.num_workers]:
            process.replaced = True
        current = [process for process in self.WORKERS.values() if not process.replaced]
        if all(process.listens for process in current):
            for process in self.WORKERS.values():
                if process.replaced:
                    self._tell_to_leave(process)

    def reap_workers(self) -> None:
        """One that cannot start ends the master, unless the old ones can go on."""
        while True:
            before = dict(self.WORKERS)
            try:
                super().reap_workers()
                return
            except HaltServer:
                ended = [before[pid] for pid in before.keys() - self.WORKERS.keys()]
                # One that was told to leave may fail to start all the same: nothing depends on it any more.
                if not all(process.told_to_leave for process in ended) and not self._old_ones_go_on():
                    raise
                for process in ended:
                    process.tmp.close()
                    self.cfg.child_exit(self, process)

    def halt(self, reason: str | None = None, exit_status: int = 0) -> None:
        """End, with an exit code of ours: gunicorn's 3 means to us that a time was over."""
        codes = {self.APP_LOAD_ERROR: BAD_SETTINGS, self.WORKER_BOOT_ERROR: FAILED}
        super().halt(reason, codes.get(exit_status, exit_status))

    def _old_ones_go_on(self) -> bool:
        """End a hand-over whose new processes do not start; False when no old one is left."""
        old = [process for process in self.WORKERS.values() if process.replaced and not process.told_to_leave]
        if not old:
            return False
        logger.error("the new server processes do not start: the old ones go on, see above for the reason")
        for process in self.WORKERS.values():
            process.replaced = process not in old
        for process in self.WORKERS.values():
            if process.replaced:
                self._tell_to_leave(process)
        return True

    def _tell_to_leave(self, process: Any) -> None:
        if not process.told_to_leave:
            process.told_to_leave = True
            self.kill_worker(process.pid, signal.SIGTERM)


class ServerProcess(Worker):  # type: ignore[misc]
    replaced = False
    """Whether it is to leave as soon as others listen in its place."""
    told_to_leave = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._listens = mmap.mmap(-1, 1)  # made before the fork, so both processes see the byte

    @property
    def listens(self) -> bool:
        return self._listens[0] == 1

    def init_signals(self) -> None:
        """Undo the master's handlers; the event loop installs those that count."""
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # gunicorn's order to reopen log files: there are none
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal that closes sends it to all: the master hands over

    def load_wsgi(self) -> None:
        """Make the application. What it says about its settings is for the operator: no traceback around it."""
        try:
            super().load_wsgi()
        except SettingsError as error:
            for line in str(error).splitlines():
                logger.error("%s", line)
            sys.exit(BAD_SETTINGS_EXIT)

    def run(self) -> None:
        from edge.server.process import run  # noqa: PLC0415 - uvicorn's 5 MB stay out of the master

        sockets = [listener.sock for listener in self.sockets]
        run(self.wsgi, self.app.options, sockets, master=self.ppid, alive=self.notify, listening=self._now_listens)

    def _now_listens(self) -> None:
        self._listens[0] = 1
