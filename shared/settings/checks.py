"""Whether settings can work. Each rule yields the settings concerned, the one to change first, and what is allowed."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from shared.domain.errors import SettingsError
from shared.settings import mongodb_uri
from shared.settings.addresses import is_host, servers

if TYPE_CHECKING:
    from shared.settings.table import Settings

MIN_ADMIN_TOKEN = 16

Problem = tuple[tuple[str, ...], str]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,200}")
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/\s?#*]+")
_ANYWHERE = {"", "0.0.0.0", "::"}  # noqa: S104 - to compare with


def check(settings: Settings) -> Iterator[Problem]:
    for rule in (_numbers, _database, _broker, _login, _edge, _times):
        yield from rule(settings)


def check_ports(settings: Settings) -> Iterator[Problem]:
    """Whether the API and the operators' port get in each other's way."""
    hosts = {settings.host, settings.admin_host}
    if settings.port and settings.port == settings.admin_port and (len(hosts) == 1 or hosts & _ANYWHERE):
        yield ("admin_port", "port"), "must be another one than port"


def network(entry: str) -> Network:
    """One address or network. Raises SettingsError."""
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        expected = "is no address or network, such as 10.0.0.7 or 10.0.0.0/8"
        raise SettingsError(f"trusted_proxies: '{entry}' {expected}") from None


def _numbers(settings: Settings) -> Iterator[Problem]:
    for name, value in msgspec.structs.asdict(settings).items():
        if isinstance(value, float) and not math.isfinite(value):
            yield (name,), "must be a number that is not infinite"


def _database(settings: Settings) -> Iterator[Problem]:
    if problem := mongodb_uri.problem(settings.mongodb_uri):
        yield ("mongodb_uri",), f"{problem}; expected mongodb://user:password@host:port,host:port/?replicaSet=name"
    name = settings.mongodb_database
    if set(name) & set('/\\. "$*<>:|?\0') or len(name.encode()) > 63:
        yield ("mongodb_database",), 'must have at most 63 bytes and none of / \\ . " $ * < > : | ? and blanks'


def _broker(settings: Settings) -> Iterator[Problem]:
    try:
        servers(settings.kafka_bootstrap_servers)
    except SettingsError as error:
        yield ("kafka_bootstrap_servers",), f"{error}; expected host:port,host:port"
    if not _TOPIC.fullmatch(settings.kafka_topic_prefix):
        yield ("kafka_topic_prefix",), "must have letters, digits, '.', '_' and '-' only"
    if settings.kafka_replication_factor < 1 and settings.kafka_replication_factor != -1:
        yield ("kafka_replication_factor",), "must be 1 or more, or -1"
    encrypted = settings.kafka_security_protocol in ("SSL", "SASL_SSL")
    if encrypted and settings.kafka_ssl_cafile and not Path(settings.kafka_ssl_cafile).is_file():
        yield ("kafka_ssl_cafile",), "there is no such file"


def _login(settings: Settings) -> Iterator[Problem]:
    if not settings.kafka_security_protocol.startswith("SASL"):
        return
    if not settings.kafka_sasl_mechanism:
        yield ("kafka_security_protocol", "kafka_sasl_mechanism"), "asks for SASL: set kafka_sasl_mechanism too"
    for name in ("kafka_sasl_username", "kafka_sasl_password"):
        if not getattr(settings, name):
            yield (name, "kafka_security_protocol"), "must be set, the protocol asks for SASL"


def _edge(settings: Settings) -> Iterator[Problem]:
    for name in ("host", "admin_host"):
        if getattr(settings, name) and not is_host(getattr(settings, name)):
            yield (name,), "must be an address or the name of this machine, such as 0.0.0.0"
    if 0 < len(settings.admin_token.encode()) < MIN_ADMIN_TOKEN:
        yield ("admin_token",), f"is too short to be safe: give it {MIN_ADMIN_TOKEN} characters at least"
    for origin in settings.cors_origins:
        if not _ORIGIN.fullmatch(origin):
            yield ("cors_origins",), f"'{origin}' is no origin: expected https://host or https://host:port, or *"
    for entry in settings.trusted_proxies:
        try:
            network(entry)
        except SettingsError as error:
            yield ("trusted_proxies",), str(error).removeprefix("trusted_proxies: ")


def _times(settings: Settings) -> Iterator[Problem]:
    for less, more in (
        ("result_ttl_seconds", "result_ttl_max_seconds"),
        ("lease_seconds", "job_deadline_seconds"),
        ("retry_base_seconds", "retry_cap_seconds"),
    ):
        if getattr(settings, less) > getattr(settings, more):
            yield (less, more), f"must not be above {more}"
