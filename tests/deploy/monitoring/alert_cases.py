"""For each alert: series under which it fires, and series close to them under which it is silent."""

from __future__ import annotations

from dataclasses import dataclass, field

Series = dict[str, str]
"""A series in Prometheus' notation to its samples in promtool's; `coatcheck_` and the common labels are added."""


@dataclass(frozen=True)
class Case:
    """Seen at minute `at`. `fires` names the severities that fire."""

    firing: Series
    silent: Series
    at: int = 30
    severities: tuple[str, ...] = ("warning",)
    base: Series = field(default_factory=dict)
    """Series of both."""


def requests(code_class: str, per_minute: int) -> Series:
    labels = f'method="POST",route="/v1/async/embeddings",code_class="{code_class}"'
    return {f"http_request_duration_seconds_count{{{labels}}}": f"0+{per_minute}x500"}


def durations(within: int, all_of: int) -> Series:
    return {
        'job_duration_seconds_bucket{modality="text",le="60.0"}': f"0+{within}x500",
        'job_duration_seconds_count{modality="text"}': f"0+{all_of}x500",
    }


def provider_calls(code_class: str, per_minute: int) -> Series:
    return {f'provider_requests_total{{provider="openai",code_class="{code_class}"}}': f"0+{per_minute}x120"}


def claimed(per_minute: int, minutes: int = 120) -> Series:
    return {'jobs_claimed_total{modality="text",source="notified"}': f"0+{per_minute}x{minutes}"}


def oldest(seconds: int) -> Series:
    return {'oldest_due_age_seconds{modality="text"}': f"{seconds}x120"}


EVERYBODY = {f'build_info{{component="{name}",version="1"}}': "1x300" for name in ("edge", "worker", "reaper")}

CASES: dict[str, Case] = {
    "CoatcheckSubmitsFail": Case(
        requests("5xx", 20),
        {'guard_refusals_total{reason="large_body"}': "0+50x500"},
        at=480,
        severities=("critical", "warning"),
        base=requests("2xx", 980),
    ),
    "CoatcheckResultsLate": Case(durations(80, 100), durations(995, 1000), at=480, severities=("critical", "warning")),
    "CoatcheckJobsWait": Case(oldest(300), oldest(100), base=claimed(10)),
    "CoatcheckNothingClaimed": Case(claimed(0), claimed(1), severities=("critical",), base=oldest(90)),
    "CoatcheckBacklogGrows": Case(
        {'jobs{modality="text",status="pending"}': "0+100x120"},
        {'jobs{modality="text",status="pending"}': "4000-1x120"},
        at=60,
        base=claimed(60),
    ),
    "CoatcheckSlotsFull": Case(
        {"slots_busy": "99x120"}, {"slots_busy": "90x120"}, base={"slots": "100x120", **oldest(20)}
    ),
    "CoatcheckLeasesLost": Case({"leases_lost_total": "0+2x120"}, {"leases_lost_total": "0x120"}, base=claimed(100)),
    "CoatcheckWorkersCrash": Case(
        {'job_crashes_total{modality="text"}': "0+2x120"},
        {'job_crashes_total{modality="text"}': "0 1x120"},
        base=claimed(100),
    ),
    "CoatcheckCallsRepeated": Case(
        {'provider_calls_repeated_total{provider="openai"}': "0+2x120"},
        {'provider_calls_repeated_total{provider="openai"}': "0x120"},
        at=90,
        base=provider_calls("2xx", 100),
    ),
    "CoatcheckProviderPaused": Case(
        {'providers_paused{provider="openai"}': "1x120"}, {'providers_paused{provider="openai"}': "1 0 0 1 0 0 0 0x120"}
    ),
    "CoatcheckProviderFails": Case(
        provider_calls("5xx", 40), provider_calls("5xx", 10), base=provider_calls("2xx", 60)
    ),
    "CoatcheckProviderRefuses": Case(
        {'providers_paused{provider="openai"}': "0x120"},
        {'providers_paused{provider="openai"}': "1x120"},
        base=provider_calls("4xx", 99) | provider_calls("2xx", 1),
    ),
    "CoatcheckJobsFail": Case(
        {'jobs_finished_total{modality="text",outcome="failed"}': "0+30x120"},
        {'jobs_finished_total{modality="text",outcome="failed"}': "0+10x120"},
        at=60,
        base={'jobs_finished_total{modality="text",outcome="completed"}': "0+70x120"},
    ),
    "CoatcheckJobsExpire": Case(
        {'jobs_expired_total{reason="deadline"}': "0x20 3x20"}, {'jobs_expired_total{reason="deadline"}': "3x40"}
    ),
    "CoatcheckJobsUnreadable": Case({"jobs_set_aside_total": "0x20 3x20"}, {"jobs_set_aside_total": "3x40"}),
    "CoatcheckReaperStopped": Case(
        {'reaper_runs_total{outcome="ok"}': "0+30x10 300x60"},
        {'reaper_runs_total{outcome="ok"}': "0+30x120"},
        severities=("critical",),
    ),
    "CoatcheckComponentMissing": Case(
        {name: value for name, value in EVERYBODY.items() if "reaper" not in name}, EVERYBODY, severities=("critical",)
    ),
    "CoatcheckTargetDown": Case({"up": "1 1 0x120"}, {"up": "1 0 1x120"}),
    "CoatcheckDatabaseFails": Case(
        {'store_call_failures_total{call="claiming"}': "0+10x120"},
        {'store_call_failures_total{call="claiming"}': "0+1x120"},
        severities=("critical",),
        base={'store_call_duration_seconds_count{call="claiming"}': "0+100x120"},
    ),
    "CoatcheckDatabaseSlow": Case(
        {'store_call_duration_seconds_bucket{call="claiming",le="1.0"}': "0+90x120"},
        {'store_call_duration_seconds_bucket{call="claiming",le="1.0"}': "0+100x120"},
        base={
            f'store_call_duration_seconds_bucket{{call="claiming",le="{le}"}}': "0+100x120" for le in ("2.5", "+Inf")
        },
    ),
    "CoatcheckNotificationsUnread": Case(
        {'notifications_received_total{modality="text"}': "0x120"},
        {'notifications_received_total{modality="text"}': "0+1x120"},
        at=60,
        base={
            'notifications_published_total{modality="text"}': "0+10x120",
            'notifications_dropped_total{modality="text"}': "0x120",
        },
    ),
    "CoatcheckClockOff": Case({"clock_offset_seconds": "-0.7x120"}, {"clock_offset_seconds": "0.3x120"}),
    "CoatcheckTasksFail": Case(
        {'task_restarts_total{task="sweep"}': "0+1x120"}, {'task_restarts_total{task="sweep"}': "0x20 1x100"}
    ),
    "CoatcheckVersionsDiffer": Case(
        {'build_info{component="edge",version="2"}': "1x300"},
        {'build_info{component="edge",version="1"}': "1x300"},
        at=120,
        severities=("info",),
        base={'build_info{component="worker",version="1"}': "1x300"},
    ),
}
