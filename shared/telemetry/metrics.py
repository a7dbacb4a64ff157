"""Every metric, each with the sentence an operator needs, and their text for Prometheus.

Labels are bounded sets: never an id, a key, a raw path or a client's model string.
"""

import os
import threading
from functools import partial
from typing import Any, NamedTuple, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, exposition, values
from prometheus_client.multiprocess import MultiProcessCollector

from shared.telemetry import metrics_files
from shared.telemetry.metrics_files import VARIABLE

if VARIABLE in os.environ:  # as the client's page on several processes says; its default is the process id
    values.ValueClass = values.MultiProcessValue(metrics_files.process_slot)  # type: ignore[no-untyped-call]
# Otherwise each counter and histogram has one more series, the time of its creation.
disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry(auto_describe=True)

_files_lock = threading.Lock()
"""The end of a process empties files while a scrape may read them."""
_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LONG = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600, 1800, 7200)
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class MetricInfo(NamedTuple):
    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


DECLARED: list[MetricInfo] = []
"""All metrics in the order of this file."""


def render() -> tuple[bytes, str]:
    """The metrics of this process, or of all processes of an edge, as text, with its media type."""
    if VARIABLE not in os.environ:
        return exposition.generate_latest(REGISTRY), exposition.CONTENT_TYPE_LATEST
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    with _files_lock:
        return exposition.generate_latest(registry), exposition.CONTENT_TYPE_LATEST


def clear_ended() -> None:
    """After the end of a server process: its gauges go, its counts stay."""
    if VARIABLE in os.environ:
        with _files_lock:
            metrics_files.clear_ended()


Metric = TypeVar("Metric", Counter, Gauge, Histogram)


def _metric(kind: type[Metric], spec: str, text: str, **options: Any) -> Metric:
    """Declares `name{label,label}`."""
    name, _, listed = spec.rstrip("}").partition("{")
    labels = tuple(listed.split(",")) if listed else ()
    shown = f"coatcheck_{name}_total" if kind is Counter else f"coatcheck_{name}"
    DECLARED.append(MetricInfo(shown, kind.__name__.lower(), labels, text))
    return kind(f"coatcheck_{name}", text, labels, registry=REGISTRY, **options)


_counter = partial(_metric, Counter)
_gauge = partial(_metric, Gauge, multiprocess_mode="livesum")
_gauge_max = partial(_metric, Gauge, multiprocess_mode="livemax")
_short_times = partial(_metric, Histogram, buckets=_FAST)
_long_times = partial(_metric, Histogram, buckets=_LONG)
_batch_sizes = partial(_metric, Histogram, buckets=_BATCH)

# The edge
HTTP_REQUESTS = _short_times(
    "http_request_duration_seconds{route,method,code_class}",
    "Time from a complete request to its answer, by route template, method and status class: rate, errors, duration.",
)
JOBS_ACCEPTED = _counter("jobs_accepted{request_type}", "Jobs answered with 202: from here on they must end.")
JOBS_REPLAYED = _counter("jobs_replayed{request_type}", "Submits that an Idempotency-Key led back to an existing job.")
GUARD_REFUSALS = _counter("guard_refusals{reason}", "Requests refused before they were read, by reason.")
SUBMIT_BATCH = _batch_sizes("submit_batch_jobs", "Jobs per insert: how well submits gather.")
COLLECT_BATCH = _batch_sizes("collect_batch_jobs", "Polls per read: how well polls gather.")
NOTIFICATIONS_PUBLISHED = _counter("notifications_published{modality}", "Job ids handed to the broker, by modality.")
NOTIFICATIONS_DROPPED = _counter(
    "notifications_dropped{modality}", "Job ids that could not be notified; the sweep finds them a second or two later."
)
NOTIFICATIONS_UNACKNOWLEDGED = _gauge(
    "notifications_unacknowledged", "Notification records the broker has not confirmed yet: grows while Kafka is away."
)

# The workers
NOTIFICATIONS_RECEIVED = _counter(
    "notifications_received{modality}", "Job ids that a worker received from the broker, by modality."
)
NOTIFICATION_PARTITIONS = _gauge(
    "notification_partitions", "Partitions assigned to this worker; at 0 no notification reaches it and it sweeps."
)
NOTIFICATIONS_INVALID = _counter(
    "notifications_invalid{modality}", "Records on a notification topic that are no notifications; they are skipped."
)
JOBS_CLAIMED = _counter(
    "jobs_claimed{modality,source}",
    "Jobs taken, by how they were found: notified is prompt, swept means a notification was lost.",
)
CLAIM_BATCH = _batch_sizes("claim_batch_jobs", "Jobs per claim.")
RECORD_BATCH = _batch_sizes("record_batch_jobs", "Outcomes per write.")
CLAIM_DELAY = _long_times("job_claim_delay_seconds{modality}", "From due to claimed: what a job waits for a worker.")
JOB_DURATION = _long_times("job_duration_seconds{modality}", "From accepted to ended: what the client waits for.")
JOBS_FINISHED = _counter("jobs_finished{modality,outcome}", "Jobs that ended, by outcome.")
JOB_FAILURES = _counter("job_failures{modality}", "Provider calls that failed and spent a job's budget.")
JOB_CRASHES = _counter("job_crashes{modality}", "Claims of jobs whose lease had run out: a worker died or stalled.")
JOB_RELEASES = _counter("job_releases{modality}", "Jobs given back by a stopping worker.")
LEASES_LOST = _counter("leases_lost", "Jobs that were taken from this worker: its work on them was thrown away.")
SLOTS_BUSY = _gauge("slots_busy", "Jobs this worker runs now.")
SLOTS = _gauge("slots", "Jobs this worker can run at a time.")
INCOMING_BYTES = _gauge("incoming_bytes", "Answers of providers that are being received, in memory.")
UNRECORDED_BYTES = _gauge("unrecorded_bytes", "Results held in memory because the database has not taken them yet.")
PROVIDER_REQUESTS = _counter("provider_requests{provider,code_class}", "Calls to providers, by how they ended.")
PROVIDER_DURATION = _long_times("provider_request_duration_seconds{provider}", "Time in the provider.")
PROVIDER_REPEATED = _counter(
    "provider_calls_repeated{provider}", "Calls made again because a worker died or lost its lease: paid for twice."
)
EMBEDDING_BATCH = _batch_sizes(
    "embedding_batch_jobs", "Jobs whose embeddings travelled in one provider call, where a provider batches."
)
PROVIDERS_PAUSED = _gauge_max("providers_paused{provider}", "1 while a provider or a model of it is paused.")

# The reaper; read these with max(), every reaper reports the same
JOBS = _gauge_max("jobs{modality,status}", "Jobs that wait or run, from the database; counting stops at 100000.")
OLDEST_PENDING_AGE = _gauge_max(
    "oldest_pending_age_seconds{modality}",
    "How long ago one of the oldest pending jobs was accepted, also while it waits for a paused model.",
)
OLDEST_DUE_AGE = _gauge_max(
    "oldest_due_age_seconds{modality}", "How long the job that could start for longest has waited for a worker."
)
REAPER_RUNS = _counter(
    "reaper_runs{outcome}", "Passes of the reaper, by outcome: must grow, or nothing overdue is ended."
)
JOBS_EXPIRED = _counter("jobs_expired{reason}", "Jobs the reaper ended, by reason.")
JOBS_SET_ASIDE = _counter(
    "jobs_set_aside", "Stored jobs that could not be read and were failed for it, by a worker or a reaper."
)
ORPHANS_REMOVED = _counter(
    "orphaned_chunks_removed", "Pieces of large bodies that no job points to: a process was killed between two writes."
)

# Everybody
STORE_CALLS = _short_times(
    "store_call_duration_seconds{call}",
    "One database call as this process sees it, by what it was for; failed calls count too.",
)
STORE_FAILURES = _counter(
    "store_call_failures{call}", "Database calls that failed or took too long, by what they were for."
)
CLOCK_OFFSET = _gauge("clock_offset_seconds", "Our clock against the database's.", multiprocess_mode="livemostrecent")
TASK_RESTARTS = _counter(
    "task_restarts{task}",
    "Tasks and threads that an unforeseen error ended and that were started again: a defect, the log has its place.",
)
BUILD_INFO = _gauge_max("build_info{version,component}", "1, labelled with the version that runs.")
