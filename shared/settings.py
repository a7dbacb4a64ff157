"""Every setting, its default and its meaning in one sentence; read from flags, environment and TOML, then frozen.

Precedence: flag > `COATCHECK_<NAME>` (or `COATCHECK_<NAME>_FILE` for secrets) > `coatcheck.toml` > default.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from shared.errors import SettingsError

PREFIX = "COATCHECK_"
MIB = 1024 * 1024
_NOT_SETTINGS = frozenset({"CONFIG", "URL", "API_KEY", "DRILL"})
"""COATCHECK_* names that belong to the client, the drill or the path of the TOML file, not to this table."""

Positive = Annotated[int, Meta(gt=0)]
Seconds = Annotated[float, Meta(gt=0)]
Port = Annotated[int, Meta(ge=0, le=65535)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of all components. Build it with `load_settings`."""

    # MongoDB
    mongodb_uri: Annotated[str, Meta(description="Connection string of a replica set.", extra={"secret": True})] = (
        "mongodb://127.0.0.1:27017"
    )
    mongodb_database: Annotated[str, Meta(min_length=1, description="Database that holds jobs, payloads, keys.")] = (
        "coatcheck"
    )
    mongodb_timeout_seconds: Annotated[Seconds, Meta(description="Bound on one database call made for a client.")] = 3.0

    # Kafka
    kafka_bootstrap_servers: Annotated[str, Meta(description="host:port list of brokers, comma separated.")] = (
        "127.0.0.1:9092"
    )
    kafka_security_protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"], Meta(description="How to talk to the brokers.")
    ] = "PLAINTEXT"
    kafka_sasl_mechanism: Annotated[
        Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"], Meta(description="SASL mechanism, if any.")
    ] = ""
    kafka_sasl_username: Annotated[str, Meta(description="SASL user name.")] = ""
    kafka_sasl_password: Annotated[str, Meta(description="SASL password.", extra={"secret": True})] = ""
    kafka_ssl_cafile: Annotated[str, Meta(description="CA bundle that signed the brokers' certificates.")] = ""
    kafka_topic_prefix: Annotated[str, Meta(min_length=1, description="Topics are <prefix>.<modality>.")] = "coatcheck"
    kafka_group_prefix: Annotated[
        str, Meta(min_length=1, description="The consumer group of all workers is <prefix>.workers.")
    ] = "coatcheck"
    kafka_partitions: Annotated[Positive, Meta(description="Partitions of a topic that init creates.")] = 12
    kafka_replication_factor: Annotated[
        int, Meta(description="Replicas of a topic; -1 takes the broker's default.")
    ] = -1
    kafka_retention_seconds: Annotated[
        Positive, Meta(description="How long a bell is kept; the sweep covers the rest.")
    ] = 3600
    kafka_fetch_wait_seconds: Annotated[
        float,
        Meta(
            ge=0.01,
            le=5,
            description="How long a fetch waits at the broker.",
        ),
    ] = 0.5
    kafka_busy_fetch_wait_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=5,
            description="The same while bells come, for a broker where a new bell does not end a fetch; 0: the same.",
        ),
    ] = 0.0

    # The edge
    host: Annotated[str, Meta(description="Address the API listens on.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="Port of the API.")] = 8080
    admin_host: Annotated[str, Meta(description="Address of metrics and health for operators.")] = "127.0.0.1"
    admin_port: Annotated[Port, Meta(description="Port of metrics and health for operators; 0 picks one.")] = 9090
    admin_token: Annotated[
        str,
        Meta(
            description="What the status page asks for; without one it answers on loopback only.",
            extra={"secret": True},
        ),
    ] = ""
    edge_processes: Annotated[
        Positive, Meta(description="Server processes of one edge; more than one pays from 4 cores.")
    ] = 1
    allow_anonymous: Annotated[bool, Meta(description="Accept requests without a virtual key.")] = False
    start_without_keys: Annotated[
        bool, Meta(description="Open the port to others although no virtual key exists yet; nobody gets in before.")
    ] = False
    cors_origins: Annotated[tuple[str, ...], Meta(description="Origins that browsers may call from; empty: none.")] = ()
    trusted_proxies: Annotated[
        tuple[str, ...], Meta(description="Addresses or networks whose X-Forwarded-* headers are believed.")
    ] = ()
    max_request_bytes: Annotated[Positive, Meta(description="Largest accepted request body.")] = 64 * MIB
    max_inflight_requests: Annotated[Positive, Meta(description="Requests one edge process holds at a time.")] = 4096
    max_inflight_bytes: Annotated[Positive, Meta(description="Body bytes one edge process holds at a time.")] = (
        256 * MIB
    )
    body_timeout_seconds: Annotated[Seconds, Meta(description="Time a body may take before its rate counts.")] = 15.0
    header_timeout_seconds: Annotated[Seconds, Meta(description="Time a request's head may take.")] = 8.0
    max_connections: Annotated[Positive, Meta(description="Connections one edge process holds at a time.")] = 10_000
    shutdown_seconds: Annotated[Positive, Meta(description="Time a stopping edge gives requests under way.")] = 25
    sync_wait_seconds: Annotated[Seconds, Meta(description="How long a drop-in call without background waits.")] = 60.0
    max_sync_waiters: Annotated[Positive, Meta(description="Drop-in calls one edge process lets wait at a time.")] = (
        1000
    )
    default_provider: Annotated[
        str, Meta(description="Provider of models that come without a prefix; empty: none.")
    ] = ""

    # Jobs
    result_ttl_seconds: Annotated[Positive, Meta(description="How long a result is kept after the job ended.")] = 3600
    result_ttl_max_seconds: Annotated[Positive, Meta(description="Cap on what a client may ask for.")] = 30 * 86400
    job_deadline_seconds: Annotated[Positive, Meta(description="Past it a job fails with 504, whatever happens.")] = (
        86400
    )
    max_result_bytes: Annotated[Positive, Meta(description="Largest result that is kept.")] = 64 * MIB
    max_failures: Annotated[
        Positive, Meta(description="Provider failures per target before the next fallback or the end.")
    ] = 3
    max_crashes: Annotated[Positive, Meta(description="Leases that may run out before the job is failed.")] = 5
    max_releases: Annotated[Positive, Meta(description="Give-backs at shutdown before the job is failed.")] = 10
    max_pending_jobs: Annotated[
        int,
        Meta(ge=0, description="Jobs of one modality that may wait; above it submits get 503. 0: no bound."),
    ] = 1_000_000

    # Workers
    slots: Annotated[Positive, Meta(description="Jobs one worker runs at a time.")] = 500
    lease_seconds: Annotated[
        Annotated[float, Meta(ge=1)], Meta(description="A claim lasts this long unless renewed.")
    ] = 30.0
    sweep_interval_seconds: Annotated[Seconds, Meta(description="How often an idle worker looks for due jobs.")] = 1.0
    sweep_grace_seconds: Annotated[Seconds, Meta(description="How overdue a job must be for the sweep to take it.")] = (
        1.0
    )
    drain_seconds: Annotated[Seconds, Meta(description="Time a stopping worker lets running jobs finish.")] = 10.0
    max_held_body_bytes: Annotated[
        Positive, Meta(description="Request bodies above 8 KB that one worker holds at a time; more wait.")
    ] = 256 * MIB
    unrecorded_bytes: Annotated[
        Positive, Meta(description="Results held while the database is away; above it no claims.")
    ] = 256 * MIB
    retry_base_seconds: Annotated[
        Seconds, Meta(description="First backoff ceiling; doubles per failure, full jitter.")
    ] = 1.0
    retry_cap_seconds: Annotated[Seconds, Meta(description="Largest backoff ceiling.")] = 60.0
    keeper_interval_seconds: Annotated[
        Seconds, Meta(description="How often the keeper ends overdue jobs and counts.")
    ] = 2.0

    # Providers
    attempt_timeout_seconds: Annotated[Seconds, Meta(description="Bound on one provider call.")] = 600.0
    local_models: Annotated[
        tuple[str, ...], Meta(description="Local models served as local/<name>; `all` for every installed one.")
    ] = ()
    providers: Annotated[
        dict[str, dict[str, Any]], Meta(description="TOML tables [providers.<name>].", extra={"secret": True})
    ] = {}

    # Logs
    log_format: Annotated[Literal["auto", "text", "json"], Meta(description="auto: text on a terminal, else JSON.")] = (
        "auto"
    )
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Least severe line written.")
    ] = "info"

    def __post_init__(self) -> None:
        if self.result_ttl_seconds > self.result_ttl_max_seconds:
            raise ValueError("result_ttl_seconds must not be above result_ttl_max_seconds")
        if self.kafka_security_protocol.startswith("SASL") and not self.kafka_sasl_mechanism:
            raise ValueError("kafka_security_protocol asks for SASL: set kafka_sasl_mechanism too")

    def __repr__(self) -> str:
        return f"Settings({redacted(self)})"


FIELDS = {field.name: field for field in msgspec.structs.fields(Settings)}


def is_secret(name: str) -> bool:
    """Whether a setting's value must never be shown."""
    metadata = getattr(FIELDS[name].type, "__metadata__", ())
    return any((meta.extra or {}).get("secret") for meta in metadata)


def describe(name: str) -> str:
    """The one sentence that says what a setting means."""
    metadata = getattr(FIELDS[name].type, "__metadata__", ())
    return str(next(meta.description for meta in metadata if meta.description))


def redacted(settings: Settings) -> dict[str, Any]:
    """All settings with secrets replaced, fit for logs and `config show`."""
    values = msgspec.structs.asdict(settings)
    return {name: "<redacted>" if is_secret(name) and value else value for name, value in values.items()}


def load_settings(
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] = os.environ,
    toml_path: str | Path | None = None,
) -> Settings:
    """Gather settings from all sources and validate them.

    `flags` holds values already typed (None means not given). Raises SettingsError naming the setting and the fix.
    """
    merged = _from_toml(toml_path or environ.get("COATCHECK_CONFIG"))
    merged.update(_from_environment(environ))
    merged.update({name: value for name, value in (flags or {}).items() if value is not None})
    for name in merged:
        if name not in FIELDS:
            raise SettingsError(f"unknown setting '{name}'{_suggest(name)}")
    try:
        return msgspec.convert(merged, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"bad setting: {error}") from None


def _from_toml(path: str | Path | None) -> dict[str, Any]:
    """Read the given file, or `coatcheck.toml` here if it exists."""
    if path is None:
        path = Path("coatcheck.toml")
        if not path.is_file():
            return {}
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read the settings file {path}: {_why_unreadable(error)}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from None


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for variable, raw in environ.items():
        if not variable.startswith(PREFIX) or variable.removeprefix(PREFIX) in _NOT_SETTINGS:
            continue
        name, value = _variable(variable.removeprefix(PREFIX).lower(), variable, raw)
        found[name] = _typed(name, value)
    return found


def _variable(name: str, variable: str, value: str) -> tuple[str, str]:
    """Resolve a `_FILE` twin and refuse unknown names."""
    if name in FIELDS:
        return name, value
    twin = name.removesuffix("_file")
    if twin in FIELDS and is_secret(twin):
        try:
            return twin, Path(value).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{variable}: cannot read {value}: {_why_unreadable(error)}") from None
    raise SettingsError(f"unknown setting {variable}{_suggest(name, PREFIX)}")


def _why_unreadable(error: OSError | UnicodeDecodeError) -> str:
    return "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error.strerror)


def _typed(name: str, value: str) -> Any:
    """Lists are comma separated in the environment; everything else is converted by type later."""
    if isinstance(FIELDS[name].default, tuple):
        return [item.strip() for item in value.split(",") if item.strip()]
    if name == "providers":
        raise SettingsError(
            "providers cannot come from one variable: use <NAME>_API_KEY, <NAME>_BASE_URL or coatcheck.toml"
        )
    return value


def _suggest(name: str, prefix: str = "") -> str:
    close = difflib.get_close_matches(name, FIELDS, n=1)
    if not close:
        return ": `coatcheck config show` lists all"
    return f": did you mean {prefix + (close[0].upper() if prefix else close[0])}?"
