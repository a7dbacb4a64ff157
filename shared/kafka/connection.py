"""Arguments that every Kafka client of ours starts from, and what must hold for all of them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from shared.errors import SettingsError
from shared.kafka.calm import CalmClient, ClientMaker
from shared.settings import Settings

API_VERSION = (3, 9)
"""Newest protocol we speak. Given so that building a client never waits for a broker; an older broker lowers it."""

RECONNECT_BACKOFF_MAX_MS = 1000
"""The library's default of 30 s would leave bells silent long after a broker is back."""


class ConnectionArguments(dict[str, Any]):
    """Keyword arguments for one client at a time; they may hold the SASL password, so they never print themselves."""

    @property
    def client(self) -> CalmClient | None:
        """The network client of the producer, consumer or admin client that was made last with these."""
        maker: ClientMaker = self["kafka_client"]
        return maker.client

    def why(self) -> str:
        """Why that client could not connect, in brackets; empty if no connection failed."""
        failure = self.client.failure() if self.client else ""
        return f" ({failure})" if failure else ""

    def __repr__(self) -> str:
        return f"ConnectionArguments({', '.join(sorted(self))})"

    __str__ = __repr__


def connection_arguments(settings: Settings) -> ConnectionArguments:
    """What KafkaProducer, KafkaConsumer and KafkaAdminClient have in common. Raises SettingsError."""
    arguments = ConnectionArguments(
        bootstrap_servers=bootstrap_servers(settings),
        security_protocol=settings.kafka_security_protocol,
        api_version=API_VERSION,
        reconnect_backoff_max_ms=RECONNECT_BACKOFF_MAX_MS,
        client_id="coatcheck",
        kafka_client=ClientMaker(),
    )
    if settings.kafka_security_protocol in ("SSL", "SASL_SSL") and settings.kafka_ssl_cafile:
        if not Path(settings.kafka_ssl_cafile).is_file():
            raise SettingsError(f"kafka_ssl_cafile: there is no file {settings.kafka_ssl_cafile}")
        arguments["ssl_cafile"] = settings.kafka_ssl_cafile
    if settings.kafka_security_protocol.startswith("SASL"):
        arguments["sasl_mechanism"] = settings.kafka_sasl_mechanism
        arguments["sasl_plain_username"] = settings.kafka_sasl_username
        arguments["sasl_plain_password"] = settings.kafka_sasl_password
    return arguments


def bootstrap_servers(settings: Settings) -> list[str]:
    """The host:port list. Raises SettingsError naming the entry that is none."""
    servers = [server.strip() for server in settings.kafka_bootstrap_servers.split(",") if server.strip()]
    for server in servers:
        host, _, port = server.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise SettingsError(f"kafka_bootstrap_servers: '{server}' is not host:port")
    if not servers:
        raise SettingsError("kafka_bootstrap_servers is empty: name at least one host:port")
    return servers


def silence_client_logs() -> None:
    """Keep the library's own log lines out of ours, at every log level.

    At debug level it writes its arguments and its SASL messages, passwords included, and while a broker is away it
    writes several errors a second. Ringer and BellListener say once what is wrong instead.
    """
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
