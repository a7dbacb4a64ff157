"""Puts the edge together: routes from the catalogue, the guard in front."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

from edge.api import models, openai_responses
from edge.api.docs import FixedResource, documentation
from edge.api.health import OK, Readiness
from edge.api.poll import PollResource
from edge.api.submit import SubmitResource
from edge.http import errors
from edge.http.falcon_app import EdgeApp
from edge.ingress.asgi_types import ASGIApp
from edge.ingress.concurrency import ConcurrencyLimit
from edge.ingress.cors import CorsMiddleware, RefusalOrigins
from edge.ingress.forwarded import TrustedProxies
from edge.ingress.guard import Guard
from edge.ingress.limits import GuardLimits
from edge.poll.reader import JobReader
from edge.poll.result_stream import ResultStream
from edge.submit.auth import KeyLookup
from edge.submit.backpressure import Backpressure
from edge.submit.submission import Submissions
from edge.submit.validation import BodyReader, parser
from edge.submit.writer import JobWriter, NotificationPublisher
from shared.domain.catalogue import CATALOGUE, Endpoint
from shared.domain.store_interface import EdgeStore
from shared.providers.config import ProviderConfig
from shared.settings.table import Settings
from shared.telemetry.metrics import GUARD_REFUSALS
from shared.version import version


@dataclass(frozen=True, slots=True)
class EdgeServices:
    """What the edge works with. `clock` is monotonic, in seconds."""

    settings: Settings
    store: EdgeStore
    publisher: NotificationPublisher
    providers: Mapping[str, ProviderConfig]
    clock: Callable[[], float] = time.monotonic
    backpressure: Backpressure = field(default_factory=Backpressure)


def create_app(services: EdgeServices, job_writer: JobWriter | None = None) -> Guard:
    """The HTTP API as an ASGI application. Its owner drains `job_writer` last."""
    settings, store = services.settings, services.store
    app = EdgeApp([CorsMiddleware(settings.cors_origins)] if settings.cors_origins else [])
    proxies = TrustedProxies(settings.trusted_proxies)
    errors.install(app, proxies)
    key_lookup = KeyLookup(store, services.clock, allow_anonymous=settings.allow_anonymous)
    _add_job_routes(app, services, key_lookup, job_writer or JobWriter(store, services.publisher))
    for path in models.PATHS:
        app.add_route(path, models.ModelsResource(services.providers, key_lookup))
    for path, resource in documentation(version(), proxies).items():
        app.add_route(path, resource)
    # The event loop turns. Not about the database: an outage must not restart the edge.
    app.add_route("/livez", FixedResource(OK))
    readiness = Readiness(store, services.clock)
    app.add_route("/readyz", readiness)
    app.add_route("/health", readiness, suffix="health")
    limits = GuardLimits(
        max_body_bytes=settings.max_request_bytes,
        max_requests=settings.max_inflight_requests,
        max_bytes=settings.max_inflight_bytes,
        body_grace=settings.body_timeout_seconds,
    )
    origins = RefusalOrigins(settings.cors_origins)
    return Guard(cast(ASGIApp, app), limits, lambda reason: GUARD_REFUSALS.labels(reason).inc(), origins)


def _add_job_routes(app: EdgeApp, services: EdgeServices, key_lookup: KeyLookup, job_writer: JobWriter) -> None:
    settings, store = services.settings, services.store
    submissions = Submissions(store, job_writer, key_lookup, settings, services.backpressure)
    job_reader = JobReader(store, key_lookup)
    results = ResultStream(store, settings.max_inflight_bytes)
    large = asyncio.Semaphore(1)
    busy = "too many calls wait for their result: use `background: true`"
    waiters = ConcurrencyLimit(settings.max_sync_waiters, busy)
    for endpoint in CATALOGUE:
        reader = _reader(services, endpoint, large)
        app.add_route(endpoint.path, SubmitResource(endpoint, reader, submissions, job_reader, results))
        app.add_route(f"{endpoint.path}/{{job_id}}", PollResource(endpoint, job_reader, results, waiters))
    reader = _reader(services, openai_responses.ENDPOINT, large, takes_background=True)
    for path in openai_responses.PATHS:
        resource = openai_responses.ResponsesResource(
            path, reader, submissions, job_reader, results, waiters, settings.sync_wait_seconds
        )
        app.add_route(path, resource)
        app.add_route(f"{path}/{{job_id}}", resource, suffix="one")


def _reader(
    services: EdgeServices, endpoint: Endpoint, large: asyncio.Semaphore, *, takes_background: bool = False
) -> BodyReader:
    """The reader of one endpoint's bodies; all share the one place for `large` ones."""
    settings, providers = services.settings, services.providers
    default, most = settings.default_provider, settings.max_request_bytes
    return BodyReader(parser(endpoint, providers, default, most, takes_background=takes_background), large)
