"""The master process of an edge: who may call it, the operators' port, and the server processes."""

from __future__ import annotations

import asyncio
import http.client
import ipaddress
import json
import logging
from typing import NoReturn

from coatcheck.cli.run.runtime import open_admin_port
from edge.ingress.limits import ConnectionLimits
from edge.server.master import serve
from shared.domain.errors import SettingsError, StoreUnavailable
from shared.settings.table import Settings
from shared.telemetry.metrics import GUARD_REFUSALS, clear_ended

APP = "edge.asgi:app"
_PROBE_SECONDS = 2.0
_ANY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to reach such a listener

log = logging.getLogger(__name__)


def run_edge(settings: Settings) -> NoReturn:
    """Serve until a signal, then leave by SystemExit."""
    refuse_useless_port(settings)
    # The master only watches over the server processes; whether the API works is what they answer themselves.
    open_admin_port(settings, "edge", stalled=list, problems=lambda: probe(settings.host, settings.port))
    serve(
        APP,
        host=settings.host,
        port=settings.port,
        processes=settings.edge_processes,
        graceful_timeout=settings.shutdown_seconds,
        limits=ConnectionLimits(max_connections=settings.max_connections, head_timeout=settings.header_timeout_seconds),
        on_refuse=lambda reason: GUARD_REFUSALS.labels(reason).inc(),
        on_process_exit=lambda pid: clear_ended(),
    )


def refuse_useless_port(settings: Settings) -> None:
    """Raise SettingsError for a port that others can reach but nobody may use. Without a database nobody knows, and
    starting is safe: a request without a valid key is refused anyway."""
    if settings.allow_anonymous or settings.start_without_keys or _is_loopback(settings.host):
        return
    try:
        usable = asyncio.run(_has_keys(settings))
    except StoreUnavailable as error:
        log.warning("cannot look for virtual keys: %s", error)
        return
    if not usable:
        raise SettingsError(
            f"no virtual key exists, so nobody could use the API on {settings.host}: create one with "
            "`coatcheck keys create NAME`, or let everybody in with COATCHECK_ALLOW_ANONYMOUS=true"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def probe(host: str, port: int) -> list[str]:
    """What the API itself says if it is not ready."""
    connection = http.client.HTTPConnection(_ANY_ADDRESS.get(host, host), port, timeout=_PROBE_SECONDS)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        body = answer.read(4096)
    except (OSError, http.client.HTTPException) as error:
        return [f"edge: the API on {host}:{port} does not answer: {type(error).__name__}"]
    finally:
        connection.close()
    if answer.status == http.client.OK:
        return []
    try:
        said = str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        said = ""
    return [f"edge: {said or answer.reason}"]


async def _has_keys(settings: Settings) -> bool:
    from shared.mongo.connection.client import connect  # noqa: PLC0415 - an edge on loopback does without the driver here
    from shared.mongo.keys import KeyStore  # noqa: PLC0415

    async with connect(settings, role="operator") as database:
        return await KeyStore(database).usable()
