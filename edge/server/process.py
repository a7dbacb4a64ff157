"""One server process: uvicorn with the hardened protocol, bounded start and stop, and a heartbeat to the master."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from types import FrameType

import msgspec
from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.server import Server

from edge.ingress.asgi_types import ASGIApp
from edge.ingress.limits import ConnectionLimits
from edge.server.connections import Connections
from edge.server.http_protocol import protocol_class
from edge.server.options import BACKLOG, BAD_SETTINGS_EXIT, ServeOptions
from shared.telemetry.supervised import supervised_task

HEARTBEAT = 1.0
"""Seconds between signs of life to the master, and between looks whether it is still there."""
_STOP_MARGIN = 0.8
"""The share of the graceful time-out that requests get; the rest is for the application's own shutdown."""
_SPARE_FILES = 256
"""File descriptors left for everything that is not a client's connection."""
_GC_THRESHOLDS = (10_000, 20, 20)
"""Far fewer collections: requests make garbage that reference counts free, and a full collection stops the loop."""

logger = logging.getLogger(__name__)


def run(
    app: ASGIApp,
    options: ServeOptions,
    sockets: list[socket.socket],
    *,
    master: int,
    alive: Callable[[], None],
    listening: Callable[[], None],
) -> None:
    """Serve until told to stop, or until the pid `master` is gone. Calls `alive` again and again, `listening` once."""
    server = BoundedServer(_config(app, options), options.startup_timeout, listening)
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(_serve(server, sockets, partial(server.heartbeat, master, alive)))


def _config(app: ASGIApp, options: ServeOptions) -> Config:
    limits = options.limits or ConnectionLimits()
    wanted = room = limits.max_connections
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft - _SPARE_FILES < wanted:
        room = max(1, soft - _SPARE_FILES)
        logger.info("the limit on open files leaves room for %d connections", room)
    register = Connections(msgspec.structs.replace(limits, max_connections=room), options.on_refuse)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    return Config(
        app,
        http=protocol_class(register),
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        workers=1,
        backlog=BACKLOG,
        timeout_graceful_shutdown=max(1, int(options.graceful_timeout * _STOP_MARGIN)),
    )


async def _serve(
    server: BoundedServer, sockets: list[socket.socket], heartbeat: Callable[[], Awaitable[object]]
) -> None:
    if task := asyncio.current_task():
        task.set_name("server")
    asyncio.get_running_loop().add_signal_handler(signal.SIGQUIT, server.stop_at_once)
    beating = supervised_task("heartbeat", heartbeat)
    try:
        await server.serve(sockets)
    finally:
        beating.cancel()
    if server.application_gone:
        sys.exit(1)


class BoundedServer(Server):
    """Not documented: startup, handle_exit, lifespan.startup_failed and .shutdown_event."""

    def __init__(self, config: Config, startup_timeout: float, on_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening
        self._startup_timeout = startup_timeout
        self.application_gone = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """A process that does not get to listen ends, and the master with it."""
        try:
            async with asyncio.timeout(self._startup_timeout):
                await super().startup(sockets)
        except TimeoutError:
            logger.error("the application did not start within %g s: giving up", self._startup_timeout)
            self.lifespan.startup_failed = True  # keeps uvicorn from logging the cancellation as a crash
            sys.exit(STARTUP_FAILURE)
        except SystemExit:
            if getattr(self.config.app, "settings_error", None):
                sys.exit(BAD_SETTINGS_EXIT)  # the message is in the log
            raise
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        if self.started:
            self._on_listening()

    async def heartbeat(self, master: int, alive: Callable[[], None]) -> None:
        """Our own, since uvicorn's follows the wall clock and stops with the listening."""
        while True:
            alive()
            if not self.should_exit and os.getppid() != master:
                logger.error("the master process is gone: stopping")
                self.should_exit = True
            if self.started and not self.should_exit and self.lifespan.shutdown_event.is_set():
                # The application has closed its database and broker: requests would fail.
                logger.error("the application ended by itself: stopping")
                self.application_gone = self.should_exit = True
            await asyncio.sleep(HEARTBEAT)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop, and exit with 0: uvicorn's own handler would end the process by the signal, past all clean-up."""
        self.should_exit = True

    def stop_at_once(self) -> None:
        self.should_exit = self.force_exit = True
