"""The parts, one row each: edge, notifications, workers, providers, database, reaper, capacity."""

from __future__ import annotations

from deploy.dashboards.panels import Panel, Row, mean, quantile, rate

ROWS = (
    Row(
        "Edge",
        (
            Panel(
                "Requests",
                "By route.",
                {rate("http_request_duration_seconds_count", "method", "route"): "{{method}} {{route}}"},
                "reqps",
                stacked=True,
            ),
            Panel(
                "99 % of requests are answered within",
                "By route. A poll that waits is meant to take long.",
                {quantile(0.99, "http_request_duration_seconds", "method", "route"): "{{method}} {{route}}"},
                "s",
            ),
            Panel(
                "Refused unread",
                "busy_ and connection_cap: an edge was full. The others: the client's mistake.",
                {rate("guard_refusals_total", "reason"): "{{reason}}"},
                "reqps",
            ),
            Panel(
                "Batches",
                "Jobs in one insert, polls in one read: they grow with the load and make it cheap.",
                {mean("submit_batch_jobs"): "submits", mean("collect_batch_jobs"): "polls"},
            ),
            Panel(
                "Replayed submits",
                "An Idempotency-Key led back to an existing job.",
                {rate("jobs_replayed_total", "request_type"): "{{request_type}}"},
                "reqps",
            ),
        ),
    ),
    Row(
        "Notifications: Kafka as seen from us",
        (
            Panel(
                "Published, received, dropped",
                "Received below published: Kafka does not deliver. Dropped: it takes none. The sweep finds these jobs.",
                {
                    rate("notifications_published_total"): "notified",
                    rate("notifications_received_total"): "received",
                    rate("notifications_dropped_total"): "dropped",
                    rate("notifications_invalid_total"): "unreadable",
                },
                "ops",
            ),
            Panel(
                "Without an answer of the broker",
                "Notification records under way; grows while Kafka is away, to a bound.",
                {"sum(coatcheck_notifications_unacknowledged{})": "records"},
            ),
            Panel(
                "Partitions received",
                "By worker. At 0 no notification reaches it: more workers than partitions, or Kafka is away.",
                {"sum by (instance) (coatcheck_notification_partitions{})": "{{instance}}"},
            ),
            Panel(
                "How jobs are found",
                "notified is prompt. swept: retries, jobs given back, and jobs whose notification was lost.",
                {rate("jobs_claimed_total", "source"): "{{source}}"},
                "ops",
                stacked=True,
            ),
        ),
    ),
    Row(
        "Workers",
        (
            Panel(
                "Jobs held",
                "By process, against what all of them can hold.",
                {"sum by (instance) (coatcheck_slots_busy{})": "{{instance}}", "sum(coatcheck_slots{})": "slots"},
            ),
            Panel(
                "Claimed",
                "By modality.",
                {rate("jobs_claimed_total", "modality"): "{{modality}}"},
                "ops",
                stacked=True,
            ),
            Panel(
                "Batches",
                "Jobs in one claim, outcomes in one write, embeddings in one call where a provider batches them.",
                {
                    mean("claim_batch_jobs"): "claims",
                    mean("record_batch_jobs"): "outcomes",
                    mean("embedding_batch_jobs"): "embeddings in a call",
                },
            ),
            Panel(
                "Leases lost, takeovers, given back",
                "lost: a worker was too slow to renew. taken over: a worker died. given back: a worker stopped.",
                {
                    rate("leases_lost_total"): "lost",
                    rate("job_crashes_total"): "taken over",
                    rate("job_releases_total"): "given back",
                },
                "ops",
            ),
            Panel(
                "Answers and results in memory",
                "Answers that are being received, and results that the database has not taken yet.",
                {
                    "sum by (instance) (coatcheck_incoming_bytes{})": "{{instance}} incoming",
                    "sum by (instance) (coatcheck_unrecorded_bytes{})": "{{instance}} not recorded",
                },
                "bytes",
            ),
        ),
    ),
    Row(
        "Providers",
        (
            Panel(
                "Calls",
                "By provider and class of the status.",
                {rate("provider_requests_total", "provider", "code_class"): "{{provider}} {{code_class}}"},
                "reqps",
                stacked=True,
            ),
            Panel(
                "99 % of calls take less than",
                "By provider.",
                {quantile(0.99, "provider_request_duration_seconds", "provider"): "{{provider}}"},
                "s",
            ),
            Panel(
                "Paused",
                "1 while a provider is left alone after a 429 or 503.",
                {"max by (provider) (coatcheck_providers_paused{})": "{{provider}}"},
            ),
            Panel(
                "Failures that cost a try",
                "By modality.",
                {rate("job_failures_total", "modality"): "{{modality}}"},
                "ops",
            ),
            Panel(
                "Calls paid for twice",
                "Repeated because a worker died or lost its lease.",
                {rate("provider_calls_repeated_total", "provider"): "{{provider}}"},
                "ops",
            ),
        ),
    ),
    Row(
        "Database: MongoDB as seen from us",
        (
            Panel(
                "Calls",
                "By what they are for.",
                {rate("store_call_duration_seconds_count", "call"): "{{call}}"},
                "ops",
                stacked=True,
            ),
            Panel(
                "99 % of calls take less than",
                "By what they are for.",
                {quantile(0.99, "store_call_duration_seconds", "call"): "{{call}}"},
                "s",
            ),
            Panel(
                "Calls that fail",
                "By what they were for.",
                {rate("store_call_failures_total", "call"): "{{call}}"},
                "ops",
            ),
            Panel(
                "Clocks",
                "The database's clock against each process's.",
                {"max by (instance) (abs(coatcheck_clock_offset_seconds{}))": "{{instance}}"},
                "s",
            ),
        ),
    ),
    Row(
        "Reaper",
        (
            Panel("Passes", "ok must never stop.", {rate("reaper_runs_total", "outcome"): "{{outcome}}"}, "ops"),
            Panel(
                "Jobs it had to end",
                "deadline: in time nobody finished them. crashes: their workers kept dying.",
                {rate("jobs_expired_total", "reason"): "{{reason}}"},
                "ops",
            ),
            Panel(
                "Jobs that could not be read",
                "Failed and set aside by whoever met them.",
                {"sum(increase(coatcheck_jobs_set_aside_total{}[15m]))": "in 15 minutes"},
                "short",
            ),
            Panel(
                "Chunks without a job",
                "Deleted: a process was killed between the writes of a large body.",
                {"sum(increase(coatcheck_orphaned_chunks_removed_total{}[15m]))": "in 15 minutes"},
                "short",
            ),
        ),
    ),
    Row(
        "Capacity",
        (
            Panel(
                "Slots in use",
                "Near 100 % with jobs waiting: more workers, unless providers are the limit.",
                {"sum(coatcheck_slots_busy{}) / sum(coatcheck_slots{})": "busy"},
                "percentunit",
            ),
            Panel(
                "Work that waits",
                "How long the present backlog takes at the present rate.",
                {
                    'max by (modality) (coatcheck_jobs{,status="pending"}) / '
                    f"({rate('jobs_claimed_total', 'modality')} > 0)": "{{modality}}"
                },
                "s",
            ),
            Panel(
                "Versions",
                "More than one for long: a rollout is stuck.",
                {"count by (component, version) (coatcheck_build_info{})": "{{component}} {{version}}"},
            ),
            Panel(
                "Scraped",
                "1 for each process that answers.",
                {"sum by (instance) (up{})": "{{instance}}"},
            ),
            Panel(
                "Tasks started again",
                "Nothing is normal: each is an error that nobody foresaw.",
                {rate("task_restarts_total", "task"): "{{task}}"},
                "ops",
            ),
        ),
    ),
)
