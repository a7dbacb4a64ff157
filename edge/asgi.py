"""The edge as a server process runs it: the event loop that serves opens the database and the broker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Mapping
from functools import partial

from edge.app import EdgeServices, create_app
from edge.ingress.asgi_types import ASGIApp, Receive, Scope, Send
from edge.ingress.guard import Guard
from edge.submit.backpressure import Backpressure
from edge.submit.writer import JobWriter
from shared.domain.errors import CoatcheckError, SettingsError
from shared.kafka.publisher import NotificationPublisher
from shared.mongo.connection.client import connect
from shared.mongo.mongo_store import MongoStore
from shared.mongo.reports import MongoReportStore
from shared.providers.config import configured
from shared.settings.reading import load_settings
from shared.settings.table import Settings
from shared.telemetry.process_report import keep_reporting, process_name
from shared.telemetry.supervised import supervised_task

_SWITCH_SECONDS = 0.0002
"""How soon the event loop gets the interpreter back from another thread; the default costs it 5 ms."""

log = logging.getLogger(__name__)


def app() -> ASGIApp:
    """Make the application of one server process; its settings come from the environment and the file."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    return Edge(load_settings(uses=("port", "providers")))


class Edge:
    """An ASGI application that opens what it needs when the server starts it, and closes it when the server stops."""

    def __init__(self, settings: Settings, environ: Mapping[str, str] = os.environ) -> None:
        self._settings = settings
        self._environ = environ
        self._app: Guard
        self.settings_error: SettingsError | None = None
        """Why it did not start, when that is for its settings."""

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return self._live(scope, receive, send) if scope["type"] == "lifespan" else self._app(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        if task := asyncio.current_task():
            task.set_name("application")
        await receive()
        async with contextlib.AsyncExitStack() as opened:
            try:
                self._app = await opened.enter_async_context(_open(self._settings, self._environ))
            except CoatcheckError as error:
                # Our own text only: a driver's may hold an address with its password.
                self.settings_error = error if isinstance(error, SettingsError) else None
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            self._app.origins.publish(scope)
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


@contextlib.asynccontextmanager
async def _open(settings: Settings, environ: Mapping[str, str]) -> AsyncIterator[Guard]:
    """The application with everything behind it. What was accepted is stored and notified for before it closes.

    Without a database it opens too: alive and not ready, it answers 503 until there is a primary.
    """
    providers = configured(settings.providers, environ, settings.local_models)
    async with connect(settings, role="edge", open_without=True) as database:
        store = MongoStore(database, settings)
        publisher = NotificationPublisher(settings)
        publisher.start()
        job_writer = JobWriter(store, publisher)
        log.info("serving with providers %s", ", ".join(sorted(providers)) or "none")
        report = partial(keep_reporting, MongoReportStore(database), process_name(), "edge")
        backpressure = Backpressure()
        tasks = [supervised_task("report", report), supervised_task("admission", partial(backpressure.watch, store))]
        try:
            yield create_app(EdgeServices(settings, store, publisher, providers, backpressure=backpressure), job_writer)
        finally:
            for task in tasks:
                task.cancel()
            await job_writer.drain()
            await publisher.close()
