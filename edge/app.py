"""Puts the edge together: routes from the catalogue, the guard in front."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import falcon.asgi

from edge import errors
from edge.access import Access
from edge.asgi_types import ASGIApp
from edge.bodies import BodyReader, parser
from edge.collect import Collector
from edge.guard import Guard
from edge.intake import Intake, Ringer
from edge.limits import GuardLimits
from edge.principal import Principals
from edge.resources.jobs import PollResource, ResultStream, SubmitResource
from edge.submission import Submissions
from shared.catalogue import CATALOGUE
from shared.metrics import GUARD_REFUSALS
from shared.providers import ProviderConfig
from shared.settings import Settings
from shared.store import EdgeStore

STREAM_BYTES = 8 * 1024 * 1024
"""What one result on its way out holds in memory: a chunk of it."""


@dataclass(frozen=True, slots=True)
class EdgeServices:
    """What the edge works with. `clock` is monotonic, in seconds."""

    settings: Settings
    store: EdgeStore
    ringer: Ringer
    providers: Mapping[str, ProviderConfig]
    clock: Callable[[], float] = time.monotonic


def create_app(services: EdgeServices) -> ASGIApp:
    """The HTTP API as an ASGI application. Wants a running event loop no earlier than its first request."""
    settings = services.settings
    app = falcon.asgi.App(middleware=[Access()])
    errors.install(app)
    _add_routes(app, services)
    return Guard(cast(ASGIApp, app), _limits(settings), lambda reason: GUARD_REFUSALS.labels(reason).inc())


def _add_routes(app: falcon.asgi.App[falcon.asgi.Request, falcon.asgi.Response], services: EdgeServices) -> None:
    settings, store = services.settings, services.store
    principals = Principals(store, services.clock, allow_anonymous=settings.allow_anonymous)
    submissions = Submissions(store, Intake(store, services.ringer), principals, settings)
    collector = Collector(store, principals)
    results = ResultStream(store, max(1, settings.max_inflight_bytes // STREAM_BYTES))
    large = asyncio.Semaphore(1)
    for endpoint in CATALOGUE:
        parse = parser(endpoint, services.providers, settings.default_provider, settings.max_request_bytes)
        app.add_route(endpoint.path, SubmitResource(endpoint, BodyReader(parse, large), submissions))
        app.add_route(f"{endpoint.path}/{{job_id}}", PollResource(endpoint, collector, results))


def _limits(settings: Settings) -> GuardLimits:
    return GuardLimits(
        max_body_bytes=settings.max_request_bytes,
        max_requests=settings.max_inflight_requests,
        max_bytes=settings.max_inflight_bytes,
        body_grace=settings.body_timeout_seconds,
    )
