"""Puts the edge together: routes from the catalogue, the guard in front."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, cast

import falcon

from edge import errors
from edge.admission import Admission
from edge.asgi_types import ASGIApp
from edge.bodies import BodyReader, parser
from edge.collect import Collector
from edge.forwarded import TrustedProxies
from edge.framework import EdgeApp
from edge.gate import Gate
from edge.guard import Guard
from edge.intake import Intake, Ringer
from edge.limits import GuardLimits
from edge.principal import Principals
from edge.resources import models, responses
from edge.resources.docs import documentation
from edge.resources.health import HEALTH_OK, LivezResource, Readiness, ReadyzResource
from edge.resources.jobs import PollResource, ResultStream, SubmitResource
from edge.submission import Submissions
from shared.catalogue import CATALOGUE, Endpoint
from shared.metrics import GUARD_REFUSALS
from shared.providers import ProviderConfig
from shared.settings import Settings
from shared.store import EdgeStore

STREAM_BYTES = 8 * 1024 * 1024
"""What one result on its way out holds in memory: a chunk of it."""
EXPOSED_HEADERS = ("Location", "Preference-Applied", "Retry-After", "x-request-id", "x-coatcheck-replayed")


@dataclass(frozen=True, slots=True)
class EdgeServices:
    """What the edge works with. `clock` is monotonic, in seconds."""

    settings: Settings
    store: EdgeStore
    ringer: Ringer
    providers: Mapping[str, ProviderConfig]
    clock: Callable[[], float] = time.monotonic
    admission: Admission = field(default_factory=Admission)


def create_app(services: EdgeServices, intake: Intake | None = None) -> ASGIApp:
    """The HTTP API as an ASGI application. Whoever stops it drains `intake` last."""
    settings = services.settings
    middleware: list[Any] = []
    if settings.cors_origins:
        middleware.append(falcon.CORSMiddleware(settings.cors_origins, expose_headers=EXPOSED_HEADERS))
    app = EdgeApp(middleware)
    errors.install(app, TrustedProxies(settings.trusted_proxies))
    _add_routes(app, services, intake or Intake(services.store, services.ringer))
    return Guard(cast(ASGIApp, app), _limits(settings), lambda reason: GUARD_REFUSALS.labels(reason).inc())


def _add_routes(app: EdgeApp, services: EdgeServices, intake: Intake) -> None:
    settings, store = services.settings, services.store
    principals = Principals(store, services.clock, allow_anonymous=settings.allow_anonymous)
    submissions = Submissions(store, intake, principals, settings, services.admission)
    collector = Collector(store, principals)
    results = ResultStream(store, max(1, settings.max_inflight_bytes // STREAM_BYTES))
    large = asyncio.Semaphore(1)
    waiters = Gate(settings.max_sync_waiters, "too many calls wait for their result: use `background: true`")
    for endpoint in CATALOGUE:
        reader = _reader(services, endpoint, large)
        app.add_route(endpoint.path, SubmitResource(endpoint, reader, submissions, collector))
        app.add_route(f"{endpoint.path}/{{job_id}}", PollResource(endpoint, collector, results, waiters))
    dropin = responses.ResponsesServices(
        reader=_reader(services, responses.ENDPOINT, large, takes_background=True),
        submissions=submissions,
        collector=collector,
        results=results,
        waiters=waiters,
        max_wait=settings.sync_wait_seconds,
    )
    for path in responses.PATHS:
        resource = responses.ResponsesResource(dropin, path)
        app.add_route(path, resource)
        app.add_route(f"{path}/{{job_id}}", resource, suffix="one")
    _add_plain_routes(app, services, principals)


def _reader(
    services: EdgeServices, endpoint: Endpoint, large: asyncio.Semaphore, *, takes_background: bool = False
) -> BodyReader:
    """The reader of one endpoint's bodies; all share the one place for `large` ones."""
    settings = services.settings
    parse = parser(
        endpoint,
        services.providers,
        settings.default_provider,
        settings.max_request_bytes,
        takes_background=takes_background,
    )
    return BodyReader(parse, large)


def _add_plain_routes(app: EdgeApp, services: EdgeServices, principals: Principals) -> None:
    for path in models.PATHS:
        app.add_route(path, models.ModelsResource(services.providers, principals))
    readiness = Readiness(services.store, services.clock)
    app.add_route("/livez", LivezResource())
    app.add_route("/readyz", ReadyzResource(readiness))
    app.add_route("/health", ReadyzResource(readiness, HEALTH_OK))
    for path, resource in documentation(_version()).items():
        app.add_route(path, resource)


def _version() -> str:
    try:
        return metadata.version("coatcheck")
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"


def _limits(settings: Settings) -> GuardLimits:
    return GuardLimits(
        max_body_bytes=settings.max_request_bytes,
        max_requests=settings.max_inflight_requests,
        max_bytes=settings.max_inflight_bytes,
        body_grace=settings.body_timeout_seconds,
    )
