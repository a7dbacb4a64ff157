"""Every setting, its default and its meaning in one sentence; frozen once read.

Precedence: flag > `COATCHECK_<NAME>` (or `COATCHECK_<NAME>_FILE` for secrets) > `coatcheck.toml` > default.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

PREFIX = "COATCHECK_"
MIB = 1024 * 1024

Use = Literal["port", "providers"]
"""What a command does with settings beyond reading them: it opens the API's port, it knows the providers."""

Positive = Annotated[int, Meta(gt=0)]
Seconds = Annotated[float, Meta(gt=0)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Texts = tuple[str, ...]


def doc(meaning: str, *, secret: bool = False, **bounds: Any) -> Meta:
    """The value of a secret is never shown."""
    return Meta(description=meaning, extra={"secret": secret}, **bounds)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of all components. Build it with `load_settings`."""

    # MongoDB
    mongodb_uri: Annotated[str, doc("Connection string of a replica set.", secret=True)] = "mongodb://127.0.0.1:27017"
    mongodb_database: Annotated[str, doc("Database that holds jobs, payloads, keys.", min_length=1)] = "coatcheck"
    mongodb_timeout_seconds: Annotated[Seconds, doc("Bound on one database call made for a client.")] = 3.0

    # Kafka
    kafka_bootstrap_servers: Annotated[str, doc("host:port list of brokers, comma separated.")] = "127.0.0.1:9092"
    kafka_security_protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"], doc("How to talk to the brokers.")
    ] = "PLAINTEXT"
    kafka_sasl_mechanism: Annotated[
        Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"], doc("SASL mechanism, if any.")
    ] = ""
    kafka_sasl_username: Annotated[str, doc("SASL user name.")] = ""
    kafka_sasl_password: Annotated[str, doc("SASL password.", secret=True)] = ""
    kafka_ssl_cafile: Annotated[str, doc("CA bundle that signed the brokers' certificates.")] = ""
    kafka_topic_prefix: Annotated[str, doc("Topics are <prefix>.<modality>.", min_length=1)] = "coatcheck"
    kafka_group_prefix: Annotated[str, doc("The consumer group of all workers is <prefix>.workers.", min_length=1)] = (
        "coatcheck"
    )
    kafka_partitions: Annotated[Positive, doc("Partitions of a topic that init creates.")] = 12
    kafka_replication_factor: Annotated[int, doc("Replicas of a topic; -1 takes the broker's default.")] = -1
    kafka_retention_seconds: Annotated[Positive, doc("How long a notification is kept; the sweep covers the rest.")] = (
        3600
    )
    kafka_fetch_wait_seconds: Annotated[float, doc("How long a fetch waits at the broker.", ge=0.01, le=5)] = 0.5
    kafka_busy_fetch_wait_seconds: Annotated[
        float,
        doc("The same while notifications come, for brokers whose fetches do not end early; 0: the same.", ge=0, le=5),
    ] = 0.0

    # The edge
    host: Annotated[str, doc("Address the API listens on.")] = "127.0.0.1"
    port: Annotated[Port, doc("Port of the API.")] = 8080
    admin_host: Annotated[str, doc("Address of metrics and health for operators.")] = "127.0.0.1"
    admin_port: Annotated[Port, doc("Port of metrics and health for operators; 0 picks one.")] = 9090
    admin_token: Annotated[
        str, doc("What the status page asks for; without one it answers on loopback only.", secret=True)
    ] = ""
    edge_processes: Annotated[Positive, doc("Server processes of one edge; more than one pays from 4 cores.")] = 1
    allow_anonymous: Annotated[bool, doc("Accept requests without a virtual key.")] = False
    start_without_keys: Annotated[
        bool, doc("Open the port to others although no virtual key exists yet; no submit is accepted before.")
    ] = False
    cors_origins: Annotated[Texts, doc("Origins that browsers may call from; empty: none.")] = ()
    trusted_proxies: Annotated[Texts, doc("Addresses or networks whose X-Forwarded-* headers are believed.")] = ()
    max_request_bytes: Annotated[Positive, doc("Largest accepted request body.")] = 64 * MIB
    max_inflight_requests: Annotated[Positive, doc("Requests one edge process holds at a time.")] = 4096
    max_inflight_bytes: Annotated[Positive, doc("Body bytes one edge process holds at a time.")] = 256 * MIB
    body_timeout_seconds: Annotated[Seconds, doc("Time a body may take before its rate counts.")] = 15.0
    header_timeout_seconds: Annotated[Seconds, doc("Time a request's head may take.")] = 8.0
    max_connections: Annotated[Positive, doc("Connections one edge process holds at a time.")] = 10_000
    shutdown_seconds: Annotated[Positive, doc("Time a stopping edge gives requests under way.")] = 25
    sync_wait_seconds: Annotated[Seconds, doc("How long a drop-in call without background waits.")] = 60.0
    max_sync_waiters: Annotated[Positive, doc("Drop-in calls one edge process lets wait at a time.")] = 1000
    default_provider: Annotated[str, doc("Provider of models that come without a prefix; empty: none.")] = ""

    # Jobs
    result_ttl_seconds: Annotated[Positive, doc("How long a result is kept after the job ended.")] = 3600
    result_ttl_max_seconds: Annotated[Positive, doc("Cap on what a client may ask for.")] = 30 * 86400
    job_deadline_seconds: Annotated[Positive, doc("Past it a job fails with 504, whatever happens.")] = 86400
    max_result_bytes: Annotated[Positive, doc("Largest result that is kept.")] = 64 * MIB
    max_failures: Annotated[Positive, doc("Provider failures per target before the next fallback or the end.")] = 3
    max_crashes: Annotated[Positive, doc("Leases that may run out under a provider call before the job is failed.")] = 5
    max_releases: Annotated[Positive, doc("Give-backs at shutdown before the job is failed.")] = 10
    max_pending_jobs: Annotated[
        int, doc("Jobs of one modality that may wait; above it submits get 503. 0: no bound.", ge=0)
    ] = 1_000_000

    # Workers
    slots: Annotated[Positive, doc("Jobs one worker runs at a time.")] = 500
    lease_seconds: Annotated[float, doc("A claim lasts this long unless renewed.", ge=1)] = 30.0
    sweep_interval_seconds: Annotated[Seconds, doc("How often an idle worker looks for due jobs.")] = 1.0
    sweep_grace_seconds: Annotated[Seconds, doc("How overdue a job must be for the sweep to take it.")] = 1.0
    drain_seconds: Annotated[Seconds, doc("Time a stopping worker lets running jobs finish.")] = 10.0
    max_held_body_bytes: Annotated[
        Positive, doc("Requests above 8 KB that a worker holds, as they came and as they are sent; more wait.")
    ] = 256 * MIB
    unrecorded_bytes: Annotated[
        Positive, doc("Answers coming in and results not recorded that a worker holds; more wait, unclaimed.")
    ] = 256 * MIB
    retry_base_seconds: Annotated[Seconds, doc("First backoff ceiling; doubles per failure, full jitter.")] = 1.0
    retry_cap_seconds: Annotated[Seconds, doc("Largest backoff ceiling.")] = 60.0
    max_pause_seconds: Annotated[
        Seconds, doc("Longest pause of a model after a 429 or 503, whatever `Retry-After` asks for.")
    ] = 300.0
    reaper_interval_seconds: Annotated[Seconds, doc("How often the reaper ends overdue jobs and counts.")] = 2.0

    # Providers
    attempt_timeout_seconds: Annotated[Seconds, doc("Bound on one provider call.")] = 600.0
    local_models: Annotated[
        Texts, doc("Local models served as local/<name>, and no others; `all` for every installed one.")
    ] = ()
    providers: Annotated[dict[str, dict[str, Any]], doc("TOML tables [providers.<name>].", secret=True)] = {}

    # Logs
    log_format: Annotated[Literal["auto", "text", "json"], doc("auto: text on a terminal, else JSON.")] = "auto"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], doc("Least severe line written.")] = "info"

    def __repr__(self) -> str:
        return f"Settings({redacted(self)})"


FIELDS = {field.name: field for field in msgspec.structs.fields(Settings)}


def is_secret(name: str) -> bool:
    metadata = getattr(FIELDS[name].type, "__metadata__", ())
    return any((meta.extra or {}).get("secret") for meta in metadata)


def describe(name: str) -> str:
    metadata = getattr(FIELDS[name].type, "__metadata__", ())
    return str(next(meta.description for meta in metadata if meta.description))


def redacted(settings: Settings) -> dict[str, Any]:
    """All settings with secrets replaced, fit for logs and `config show`."""
    values = msgspec.structs.asdict(settings)
    return {name: "<redacted>" if is_secret(name) and value else value for name, value in values.items()}
