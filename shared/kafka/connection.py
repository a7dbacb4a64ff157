"""Arguments that all our Kafka clients share."""

import logging
from pathlib import Path
from typing import Any

from shared.domain.errors import SettingsError
from shared.kafka.patched_client import ClientMaker, PatchedClient
from shared.settings.addresses import servers
from shared.settings.table import Settings

API_VERSION = (3, 9)
"""Newest protocol version used. Given, so that making a client waits for no broker; an older broker lowers it."""


class ConnectionArguments(dict[str, Any]):
    """Keyword arguments for one client at a time. Printed without values: they may hold the SASL password."""

    @property
    def client(self) -> PatchedClient | None:
        """The network client of the client that was made last with these arguments."""
        maker: ClientMaker = self["kafka_client"]
        return maker.client

    def why(self) -> str:
        """Why that client could not connect, in brackets; empty if no connection failed."""
        return f" ({self.client.manager.failure})" if self.client and self.client.manager.failure else ""

    def __repr__(self) -> str:
        return f"ConnectionArguments({', '.join(sorted(self))})"


def connection_arguments(settings: Settings) -> ConnectionArguments:
    """Silences the library, too. Raises SettingsError."""
    silence_client_logs()
    arguments = ConnectionArguments(
        bootstrap_servers=bootstrap_servers(settings),
        security_protocol=settings.kafka_security_protocol,
        api_version=API_VERSION,
        reconnect_backoff_max_ms=1000,  # by default 30 s: notifications would stay away after a broker is back
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
    try:
        return servers(settings.kafka_bootstrap_servers)
    except SettingsError as error:
        raise SettingsError(f"kafka_bootstrap_servers: {error}") from None


def silence_client_logs() -> None:
    """At debug level they hold passwords; while a broker is away there are several errors a second."""
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
