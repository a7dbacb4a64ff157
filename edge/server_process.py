"""One server process: uvicorn with the hardened protocol, bounded start and stop, and a heartbeat to the master."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType

import msgspec
from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.server import Server

from edge.asgi_types import ASGIApp
from edge.connections import Connections
from edge.limits import ConnectionLimits
from edge.protocol import protocol_class
from edge.server import BACKLOG, ServeOptions, spare_connections

HEARTBEAT = 1.0
"""Seconds between signs of life to the master, and between looks whether it is still there."""
_STOP_MARGIN = 0.8
"""The share of the graceful time-out that requests get; the rest is for the application's own shutdown."""
_GC_THRESHOLDS = (10_000, 20, 20)
"""Far fewer collections: requests make garbage that reference counts free, and a full collection stops the loop."""

logger = logging.getLogger(__name__)


def run(
    app: ASGIApp, options: ServeOptions, *, master: int, notify: Callable[[], None], sockets: list[socket.socket]
) -> None:
    """Serve on `sockets` until told to stop, or until the process `master` is gone."""
    server = _Server(_config(app, options), options.startup_timeout)
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(_serve(server, sockets, master, notify))


def _config(app: ASGIApp, options: ServeOptions) -> Config:
    limits = options.limits or ConnectionLimits()
    room = spare_connections(limits.max_connections)
    if room < limits.max_connections:
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


async def _serve(server: _Server, sockets: list[socket.socket], master: int, notify: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGQUIT, server.stop_at_once)
    heartbeat = asyncio.create_task(_heartbeat(server, master, notify))
    try:
        await server.serve(sockets)
    finally:
        heartbeat.cancel()


async def _heartbeat(server: Server, master: int, notify: Callable[[], None]) -> None:
    """Our own, since uvicorn's follows the wall clock and stops with the listening."""
    while True:
        notify()
        if os.getppid() != master and not server.should_exit:
            logger.error("the master process is gone: stopping")
            server.should_exit = True
        await asyncio.sleep(HEARTBEAT)


class _Server(Server):
    """uvicorn's server with a bounded start and an orderly exit."""

    def __init__(self, config: Config, startup_timeout: float) -> None:
        super().__init__(config)
        self._startup_timeout = startup_timeout

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then listen. A process that does not get that far ends, and the master with it."""
        try:
            async with asyncio.timeout(self._startup_timeout):
                await super().startup(sockets)
        except TimeoutError:
            logger.error("the application did not start within %g s: giving up", self._startup_timeout)
            self.lifespan.startup_failed = True  # or uvicorn would log its cancellation as a crash
            sys.exit(STARTUP_FAILURE)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop, and exit with 0: uvicorn's own handler would end the process by the signal, past all clean-up."""
        self.should_exit = True

    def stop_at_once(self) -> None:
        """Stop without waiting for requests."""
        self.should_exit = True
        self.force_exit = True
