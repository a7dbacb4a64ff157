"""Writes into the chart what it knows of the code: the schema of settings, and names for its own checks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from shared.domain.catalogue import BY_TYPE
from shared.providers.config import DERIVED, ProviderConfig
from shared.providers.known import KNOWN_PROVIDERS
from shared.settings.table import FIELDS, Settings

CHART = Path(__file__).parents[1] / "k8s" / "coatcheck"
SCHEMA = CHART / "values.schema.json"
NAMES = CHART / "files" / "names.json"

Json = dict[str, Any]

OTHER_VALUES = {
    "admin_host": "listenAddress",
    "admin_port": "ports.admin",
    "admin_token": "statusPage.existingSecret",
    "allow_anonymous": "auth.allowAnonymous",
    "drain_seconds": "worker.drainSeconds",
    "edge_processes": "edge.processes",
    "host": "listenAddress",
    "kafka_bootstrap_servers": "kafka.bootstrapServers",
    "kafka_group_prefix": "kafka.prefix",
    "kafka_sasl_mechanism": "kafka.saslMechanism",
    "kafka_sasl_password": "kafka.existingSecret",
    "kafka_sasl_username": "kafka.saslUsername",
    "kafka_security_protocol": "kafka.securityProtocol",
    "kafka_ssl_cafile": "kafka.tls.existingSecret",
    "kafka_topic_prefix": "kafka.prefix",
    "mongodb_database": "mongodb.database",
    "mongodb_uri": "mongodb.existingSecret",
    "port": "ports.api",
    "providers": "providers",
    "shutdown_seconds": "edge.shutdownSeconds",
    "slots": "worker.slots",
}
"""Settings that a value of the chart sets, because a Secret, a mount, a port or a grace period hangs on them."""

KEY_FIELDS = ("api_key", "api_key_env", "api_key_file")
"""Of a provider: its key comes from a Secret."""


def names() -> Json:
    """What the templates compare with, since Helm does not let them read the schema."""
    hosted = [known.name for known in KNOWN_PROVIDERS.values() if known.base_url]
    return {
        "otherValues": OTHER_VALUES,
        "keyFields": list(KEY_FIELDS),
        "knownProviders": [*hosted, "local", "scripted"],
    }


def settings_schema() -> Json:
    """Of `settings`. What another value sets passes here, for the chart's own refusal says which one."""
    fields = _fields(Settings)
    found = {name: _elsewhere(name) if name in OTHER_VALUES else _variable(fields[name]) for name in FIELDS}
    return {"type": "object", "additionalProperties": False, "properties": found}


def provider_schema() -> Json:
    """Of `settings` of one provider, which become a table of TOML."""
    fields = _fields(ProviderConfig)
    found = {name: {} if name in KEY_FIELDS else _plain(fields[name]) for name in fields if name not in DERIVED}
    path = found["paths"].pop("additionalProperties")
    found["paths"] |= {"additionalProperties": False, "properties": dict.fromkeys(BY_TYPE, path)}
    return {"type": "object", "additionalProperties": False, "properties": found}


def schema() -> Json:
    """The schema in the chart with the parts that come from the code."""
    document: Json = json.loads(SCHEMA.read_text())
    document["properties"]["settings"] = settings_schema()
    document["$defs"]["provider"]["properties"]["settings"] = provider_schema()
    return document


def text(document: Json) -> str:
    """As it stands in the file."""
    return json.dumps(document, indent=2) + "\n"


def _fields(struct: type) -> Json:
    (found,) = msgspec.json.schema_components([struct])[1].values()
    fields: Json = found["properties"]
    return fields


def _plain(field: Json) -> Json:
    """Without the default, which the code has."""
    return {key: value for key, value in field.items() if key != "default"}


def _elsewhere(name: str) -> Json:
    return {"description": f"Set by {OTHER_VALUES[name]}."}


def _variable(field: Json) -> Json:
    """A setting travels as a variable, so that numbers, booleans and lists may be written as text too."""
    patterns = {"integer": r"^-?[0-9]+$", "number": r"^[0-9]+(\.[0-9]+)?$", "boolean": "^([Tt]rue|[Ff]alse|[01])$"}
    kind = field.get("type")
    if kind in patterns:
        return _plain(field) | {"type": [kind, "string"], "pattern": patterns[kind]}
    if kind == "array":
        return _plain(field) | {"type": ["array", "string"]}
    return _plain(field)


if __name__ == "__main__":
    SCHEMA.write_text(text(schema()))
    NAMES.write_text(text(names()))
