"""The edge as a server process runs it: the database and the broker are opened by the event loop that serves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Mapping

from edge.admission import Admission
from edge.app import EdgeServices, create_app
from edge.asgi_types import ASGIApp, Receive, Scope, Send
from edge.intake import Intake
from shared.errors import CoatcheckError
from shared.kafka.ringer import Ringer
from shared.mongo.client import connect
from shared.mongo.reports import ReportVerbs
from shared.mongo.store import MongoStore
from shared.providers import configured
from shared.report import keep_reporting, process_name
from shared.settings import Settings, load_settings

_SWITCH_SECONDS = 0.0002
"""How soon the event loop gets the interpreter back from another thread; the default costs it 5 ms."""

log = logging.getLogger(__name__)


def app() -> ASGIApp:
    """Make the application of one server process; its settings come from the environment and the file."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    return Edge(load_settings())


class Edge:
    """An ASGI application that opens what it needs when the server starts it, and closes it when the server stops."""

    def __init__(self, settings: Settings, environ: Mapping[str, str] = os.environ) -> None:
        self._settings = settings
        self._environ = environ
        self._app: ASGIApp

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return self._live(receive, send) if scope["type"] == "lifespan" else self._app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        async with contextlib.AsyncExitStack() as opened:
            try:
                self._app = await opened.enter_async_context(_open(self._settings, self._environ))
            except CoatcheckError as error:
                # Only our own words go out: a driver's text may hold an address with its password.
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


@contextlib.asynccontextmanager
async def _open(settings: Settings, environ: Mapping[str, str]) -> AsyncIterator[ASGIApp]:
    """The application with everything behind it. What was accepted is stored and rung for before it closes.

    Without a database it opens too: alive and not ready, it answers 503 until there is a primary.
    """
    providers = configured(settings.providers, environ, settings.local_models)
    async with connect(settings, role="edge", open_without=True) as database:
        store = MongoStore(database, settings)
        ringer = Ringer(settings)
        ringer.start()
        intake = Intake(store, ringer)
        log.info("serving with providers %s", ", ".join(sorted(providers)) or "none")
        reporting = asyncio.create_task(keep_reporting(ReportVerbs(database), process_name(), "edge"))
        admission = Admission()
        watching = asyncio.create_task(admission.watch(store))
        try:
            yield create_app(EdgeServices(settings, store, ringer, providers, admission=admission), intake)
        finally:
            reporting.cancel()
            watching.cancel()
            await intake.drain()
            await ringer.close()
