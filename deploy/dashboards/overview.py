"""Is it well, for which modality is it not, and where does the time go."""

from __future__ import annotations

from deploy.dashboards.panels import Panel, Row, quantile, rate

_SUBMITS = 'method="POST",route=~"/v1/async/.+"'
_FAILED = 'outcome="failed"'
_IN_A_MINUTE = 'le="60.0"'
_FAILED_SUBMITS = f'{_SUBMITS},code_class="5xx"'
_PENDING = 'max by (modality, status) (coatcheck_jobs{,status="pending"})'
_RUNNING = 'max by (modality, status) (coatcheck_jobs{,status="processing"})'
_OLDEST = "max by (modality) (coatcheck_oldest_due_age_seconds{})"
_GOOD_BELOW = ((None, "green"), (0.01, "orange"), (0.05, "red"))

ROWS = (
    Row(
        "Is it well",
        (
            Panel(
                "Accepted",
                "Jobs answered with 202, a second.",
                {rate("jobs_accepted_total"): ""},
                "reqps",
                "stat",
                4,
                4,
                thresholds=((None, "blue"),),
            ),
            Panel(
                "Ended",
                "Jobs that completed or failed, a second. Below `Accepted` for long: a backlog grows.",
                {rate("jobs_finished_total"): ""},
                "reqps",
                "stat",
                4,
                4,
                thresholds=((None, "blue"),),
            ),
            Panel(
                "Submits that fail",
                "Share of submits answered with 5xx.",
                {
                    f"({rate('http_request_duration_seconds_count', where=_FAILED_SUBMITS)} or vector(0)) / "
                    f"{rate('http_request_duration_seconds_count', where=_SUBMITS)}": ""
                },
                "percentunit",
                "stat",
                4,
                4,
                thresholds=((None, "green"), (0.001, "orange"), (0.01, "red")),
            ),
            Panel(
                "Jobs that fail",
                "Share of ended jobs that failed: mostly the provider's or the caller's doing.",
                {f"({rate('jobs_finished_total', where=_FAILED)} or vector(0)) / {rate('jobs_finished_total')}": ""},
                "percentunit",
                "stat",
                4,
                4,
                thresholds=((None, "green"), (0.05, "orange"), (0.2, "red")),
            ),
            Panel(
                "Oldest waiting job",
                "How long the longest waiting job that is due has waited.",
                {f"max({_OLDEST})": ""},
                "s",
                "stat",
                4,
                4,
                thresholds=((None, "green"), (10, "orange"), (120, "red")),
            ),
            Panel(
                "Reaper",
                "Whether a reaper has done its work within five minutes.",
                {'sum(rate(coatcheck_reaper_runs_total{,outcome="ok"}[5m])) > bool 0': ""},
                "short",
                "stat",
                4,
                4,
                thresholds=((None, "red"), (1, "green")),
                words={"0": ("stopped", "red"), "1": ("runs", "green")},
            ),
        ),
    ),
    Row(
        "By modality",
        (
            Panel(
                "Accepted",
                "By request type.",
                {rate("jobs_accepted_total", "request_type"): "{{request_type}}"},
                "reqps",
            ),
            Panel(
                "Ended",
                "By modality and outcome.",
                {rate("jobs_finished_total", "modality", "outcome"): "{{modality}} {{outcome}}"},
                "reqps",
            ),
            Panel(
                "Oldest waiting job",
                "Grows without end when nobody serves the modality.",
                {
                    _OLDEST: "{{modality}}",
                    "max by (modality) (coatcheck_oldest_pending_age_seconds{})": "{{modality}}, since accepted",
                },
                "s",
            ),
            Panel("Waiting", "Counting stops at 100,000.", {_PENDING: "{{modality}}"}, stacked=True),
            Panel("Running", "Held by workers.", {_RUNNING: "{{modality}}"}, stacked=True),
            Panel(
                "Ended later than a minute",
                "Share of jobs, by modality.",
                {
                    f"1 - {rate('job_duration_seconds_bucket', 'modality', where=_IN_A_MINUTE)} / "
                    f"{rate('job_duration_seconds_count', 'modality')}": "{{modality}}"
                },
                "percentunit",
                thresholds=_GOOD_BELOW,
            ),
        ),
    ),
    Row(
        "Where does the time go",
        (
            Panel(
                "Submit",
                "From the complete request to its 202.",
                {
                    quantile(0.5, "http_request_duration_seconds", where=_SUBMITS): "median",
                    quantile(0.99, "http_request_duration_seconds", where=_SUBMITS): "99 %",
                },
                "s",
            ),
            Panel(
                "Waiting for a worker",
                "From due to claimed.",
                {
                    quantile(0.5, "job_claim_delay_seconds", "modality"): "{{modality}} median",
                    quantile(0.99, "job_claim_delay_seconds", "modality"): "{{modality}} 99 %",
                },
                "s",
            ),
            Panel(
                "In the provider",
                "One call.",
                {
                    quantile(0.5, "provider_request_duration_seconds", "provider"): "{{provider}} median",
                    quantile(0.99, "provider_request_duration_seconds", "provider"): "{{provider}} 99 %",
                },
                "s",
            ),
            Panel(
                "All of it",
                "From accepted to ended: what clients wait for.",
                {
                    quantile(0.5, "job_duration_seconds", "modality"): "{{modality}} median",
                    quantile(0.99, "job_duration_seconds", "modality"): "{{modality}} 99 %",
                },
                "s",
                width=12,
            ),
            Panel(
                "All of it, spread",
                "How many jobs took how long.",
                {"sum by (le) (increase(coatcheck_job_duration_seconds_bucket{}[$__rate_interval]))": "{{le}}"},
                "s",
                "heatmap",
                width=12,
            ),
        ),
    ),
    Row(
        "What goes wrong",
        (
            Panel(
                "Attempts that did not end a job",
                "failures: the provider's, tried again. crashes: a worker died. releases: a worker stopped.",
                {
                    rate("job_failures_total"): "failures",
                    rate("job_crashes_total"): "crashes",
                    rate("job_releases_total"): "releases",
                },
                "ops",
            ),
            Panel(
                "Answers of the edge that are errors",
                "4xx is the callers' doing, 5xx ours.",
                {
                    rate(
                        "http_request_duration_seconds_count", "code_class", where='code_class=~"4xx|5xx"'
                    ): "{{code_class}}",
                    rate("guard_refusals_total", "reason"): "refused: {{reason}}",
                },
                "reqps",
            ),
            Panel(
                "Calls to providers that fail",
                "By provider and class of the status.",
                {
                    rate("provider_requests_total", "provider", "code_class", where='code_class!="2xx"'): (
                        "{{provider}} {{code_class}}"
                    )
                },
                "reqps",
            ),
        ),
    ),
)
