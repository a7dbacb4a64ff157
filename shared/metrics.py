"""Every metric, each with the sentence an operator needs. The only file that imports the client's metric types.

Labels are bounded sets: request type, modality, provider name, outcome class. Never an id, a key, a raw path or a
client's model string. Label children are bound once, where they are used.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from shared import metrics_room

metrics_room.use_it()
# Otherwise each counter and histogram has a series beside it, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry(auto_describe=True)

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LONG = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600, 1800, 7200)
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(f"coatcheck_{name}", text, labels, registry=REGISTRY)


def _histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
    return Histogram(f"coatcheck_{name}", text, labels, buckets=buckets, registry=REGISTRY)


def _gauge(name: str, text: str, *labels: str, mode: str = "livesum") -> Gauge:
    return Gauge(f"coatcheck_{name}", text, labels, registry=REGISTRY, multiprocess_mode=mode)  # type: ignore[arg-type]


def observe_all(histogram: Histogram, values: Sequence[float]) -> None:
    """As `observe` for each of the values, with one write for their sum and one for each bucket that gets any."""
    histogram._sum.inc(sum(values))
    for place, count in Tally(bisect_left(histogram._upper_bounds, value) for value in values).items():
        histogram._buckets[place].inc(count)


# The edge
HTTP_REQUESTS = _histogram(
    "http_request_duration_seconds",
    "Time from a complete request to its answer, by route template, method and status class: rate, errors, duration.",
    _FAST,
    "route",
    "method",
    "code_class",
)
JOBS_ACCEPTED = _counter("jobs_accepted", "Jobs answered with 202: from here on they must end.", "request_type")
JOBS_REPLAYED = _counter(
    "jobs_replayed", "Submits that an Idempotency-Key led back to an existing job.", "request_type"
)
GUARD_REFUSALS = _counter("guard_refusals", "Requests refused before they were read, by reason.", "reason")
SUBMIT_BATCH = _histogram("submit_batch_jobs", "Jobs per insert: how well submits gather.", _BATCH)
COLLECT_BATCH = _histogram("collect_batch_jobs", "Polls per read: how well polls gather.", _BATCH)
BELLS_RUNG = _counter("bells_rung", "Job ids handed to the broker, by modality.", "modality")
BELLS_DROPPED = _counter(
    "bells_dropped", "Job ids that could not be rung; the sweep finds them a second or two later.", "modality"
)
BELLS_UNACKED = _gauge("bells_unacked", "Bell records the broker has not confirmed yet: grows while Kafka is away.")

# The fleet
BELLS_HEARD = _counter("bells_heard", "Job ids that a worker heard from the broker, by modality.", "modality")
BELL_PARTITIONS = _gauge("bell_partitions", "Partitions that this worker hears; at 0 no bell reaches it and it sweeps.")
BELLS_BAD = _counter("bells_bad", "Records on a bell topic that are no bells; they are skipped.", "modality")
JOBS_CLAIMED = _counter(
    "jobs_claimed",
    "Jobs taken, by how they were found: rung is prompt, swept means a bell was lost.",
    "modality",
    "source",
)
CLAIM_BATCH = _histogram("claim_batch_jobs", "Jobs per claim.", _BATCH)
RECORD_BATCH = _histogram("record_batch_jobs", "Outcomes per write.", _BATCH)
CLAIM_DELAY = _histogram(
    "job_claim_delay_seconds", "From due to claimed: what a job waits for a worker.", _LONG, "modality"
)
JOB_DURATION = _histogram(
    "job_duration_seconds", "From accepted to ended: what the client waits for.", _LONG, "modality"
)
JOBS_FINISHED = _counter("jobs_finished", "Jobs that ended, by outcome.", "modality", "outcome")
JOB_FAILURES = _counter("job_failures", "Provider calls that failed and spent a job's budget.", "modality")
JOB_CRASHES = _counter("job_crashes", "Claims of jobs whose lease had run out: a worker died or stalled.", "modality")
JOB_RELEASES = _counter("job_releases", "Jobs given back by a stopping worker.", "modality")
LEASES_LOST = _counter("leases_lost", "Jobs that were taken from this worker: its work on them was thrown away.")
SLOTS_BUSY = _gauge("slots_busy", "Jobs this worker runs now.")
SLOTS = _gauge("slots", "Jobs this worker can run at a time.")
UNRECORDED_BYTES = _gauge("unrecorded_bytes", "Results held in memory because the database has not taken them yet.")
PROVIDER_REQUESTS = _counter("provider_requests", "Calls to providers, by how they ended.", "provider", "code_class")
PROVIDER_DURATION = _histogram("provider_request_duration_seconds", "Time in the provider.", _LONG, "provider")
PROVIDER_REPEATED = _counter(
    "provider_calls_repeated", "Calls made again because a worker died or lost its lease: paid for twice.", "provider"
)
EMBEDDING_BATCH = _histogram(
    "embedding_batch_jobs", "Jobs whose embeddings travelled in one provider call, where a provider batches.", _BATCH
)
PROVIDERS_PAUSED = _gauge(
    "providers_paused", "1 while a provider is paused after a 429 or 503.", "provider", mode="livemax"
)

# The keeper; read these with max(), every keeper reports the same
JOBS = _gauge(
    "jobs", "Jobs that wait or run, from the database; counting stops at 100000.", "modality", "status", mode="livemax"
)
OLDEST_PENDING_AGE = _gauge(
    "oldest_pending_age_seconds", "How long the longest waiting due job has waited.", "modality", mode="livemax"
)
KEEPER_RUNS = _counter(
    "keeper_runs", "Passes of the keeper, by outcome: must grow, or nothing overdue is ended.", "outcome"
)
JOBS_EXPIRED = _counter("jobs_expired", "Jobs the keeper ended, by reason.", "reason")

# Everybody
STORE_CALLS = _histogram(
    "store_call_duration_seconds",
    "One database call as this process sees it, by what it was for; failed calls count too.",
    _FAST,
    "call",
)
STORE_FAILURES = _counter(
    "store_call_failures", "Database calls that failed or took too long, by what they were for.", "call"
)
CLOCK_OFFSET = _gauge("clock_offset_seconds", "Our clock against the database's.", mode="livemostrecent")
BUILD_INFO = _gauge("build_info", "1, labelled with the version that runs.", "version", "component", mode="livemax")
