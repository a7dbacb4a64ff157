"""How facts are made of what was read: series, causes, and what is not as it should be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from coatcheck.status.causes import MAX_CAUSES, MAX_WORDS, group, words_of
from coatcheck.status.model import Modality, Paused, Process, Series, add_up, concerns, quantile, window
from shared.telemetry.process_report import BUCKET_SECONDS, BUCKETS_KEPT, Counts, Report, TimeBucket, bucket_of

NOW = datetime(2026, 7, 25, 10, 0, 7, tzinfo=UTC)
RUNBOOKS = Path(__file__).parents[4] / "docs" / "runbooks"


def report(*slots: TimeBucket) -> Report:
    return Report(process="w", component="worker", version="1", started_at=NOW, history=slots)


def test_processes_are_added_up_slot_by_slot() -> None:
    slots = window(NOW)
    one = TimeBucket(slots[-1], {"text": Counts(4, 2, 1, {"0.5": 3})})
    other = TimeBucket(slots[-1], {"text": Counts(6, 1, 0, {"1.0": 1}), "retired": Counts(9)})
    old = TimeBucket(slots[0] - 1, {"text": Counts(1000)})
    (series,) = add_up([report(old, one), report(other)], ["text"], slots).values()
    assert (series.accepted, series.completed, series.failed) == (10, 3, 1)
    assert series.accepted_per_second[-1] == 10 / BUCKET_SECONDS
    assert series.ended_per_second == [0.0] * (len(slots) - 1) + [4 / BUCKET_SECONDS]
    assert series.p50s[:-1] == [None] * (len(slots) - 1)


@pytest.mark.parametrize("seconds", range(2 * BUCKET_SECONDS))
def test_the_window_holds_slots_that_every_process_has_reported_and_none_has_dropped(seconds: int) -> None:
    now = NOW + timedelta(seconds=seconds)
    slots = window(now)
    assert (slots[-1] + 1) * BUCKET_SECONDS <= now.timestamp() - 6 + 1e-6
    assert slots[0] > bucket_of(now) - BUCKETS_KEPT
    assert len(slots) == BUCKETS_KEPT - 3


def test_a_quantile_lies_in_the_bucket_that_holds_it() -> None:
    durations = {"0.1": 50, "0.5": 45, "+Inf": 5}
    middle, high, beyond = (quantile(durations, share) for share in (0.5, 0.9, 0.99))
    assert middle == 0.1
    assert high is not None
    assert 0.1 < high < 0.5
    assert beyond == 0.5, "above the last bound nothing is known but the bound"
    assert quantile({}, 0.5) is None


def failure(number: int, error: str | None, target: str = "openai/gpt") -> dict[str, Any]:
    moment = NOW - timedelta(seconds=number)
    return {
        "id": f"job-{number}", "modality": "text", "target": target, "status_code": 400, "error": error,
        "completed_at": moment,
    }  # fmt: skip


def test_failures_that_differ_in_ids_numbers_and_quotes_only_are_one_cause() -> None:
    failures = [
        failure(0, "Rate limit for org-a1b2 reached: 500 of 500"),
        failure(1, "no model 'secret-one'"),
        failure(2, "Rate limit for org-ff99 reached: 12 of 9"),
        failure(3, "Rate limit for org-ff99 reached: 12 of 9", target="groq/x"),
    ]
    causes = group(failures)
    assert [(cause.count, cause.provider, cause.last_job) for cause in causes] == [
        (2, "openai", "job-0"),
        (1, "openai", "job-1"),
        (1, "groq", "job-3"),
    ]


@pytest.mark.parametrize(
    "error",
    [
        "Invalid value: 'the cat sat'",
        'Invalid value: "the cat sat',
        "Invalid input: {'text': the cat sat",
        "cannot parse [the cat sat",
    ],
)
def test_what_a_provider_quotes_of_a_request_is_not_shown(error: str) -> None:
    assert "cat" not in words_of(error)


def test_causes_are_bounded_in_number_and_length() -> None:
    words = ["aa", "bb", "cc", "dd", "ee", "ff", "gg", "hh", "ii", "jj", "kk", "ll", "mm", "nn"]
    assert len(group([failure(0, word) for word in words])) == MAX_CAUSES
    assert len(words_of("word " * 1000)) <= MAX_WORDS
    assert words_of(None) == "no message was kept"


@pytest.mark.parametrize(
    ("error", "target", "words"),
    [
        ("local/minilm2 is not installed", "local/minilm2", "local/minilm2 is not installed"),
        ("model gpt-4o-mini does not exist", "openai/gpt-4o-mini", "model gpt-4o-mini does not exist"),
        ('no model "gpt-4.1", sorry', "openai/gpt-4.1", "no model gpt-4.1, sorry"),
        ("gpt-4o-mini-x9 and req-7", "openai/gpt-4o-mini", "gpt-# and req-#"),
        ("job 019ac0de of m", "openai/m", "job # of m"),
    ],
)
def test_a_cause_names_the_model_and_nothing_else_that_has_numbers(error: str, target: str, words: str) -> None:
    assert words_of(error, target) == words


def modality(name: str = "text", **more: Any) -> Modality:
    series = Series(
        accepted=0, completed=more.pop("completed", 0), failed=more.pop("failed", 0), accepted_per_second=[],
        ended_per_second=[], p50=None, p95=None, p50s=[], p95s=[],
    )  # fmt: skip
    shown: dict[str, Any] = {"pending": 0, "pending_capped": False, "processing": 0, "processing_capped": False}
    shown |= {"oldest_seconds": 0.0, "due_seconds": 0.0}
    return Modality(name=name, series=series, **(shown | more))


def process(component: str, **more: Any) -> Process:
    shown: dict[str, Any] = {"name": f"{component}-1", "component": component, "version": "1", "seconds_ago": 2.0}
    return Process(**(shown | more))


WELL = [process("edge"), process("reaper"), process("worker", serves=("text",), slots=10)]


def test_an_installation_that_works_gives_no_concern() -> None:
    assert (
        concerns([modality(pending=3, oldest_seconds=900.0, due_seconds=5.0, completed=100, failed=4)], WELL, []) == []
    )


@pytest.mark.parametrize(
    ("jobs", "processes", "paused", "says"),
    [
        ([], WELL[1:], [], "No edge reports"),
        ([], WELL[:2], [], "No worker reports: nobody runs jobs."),
        ([modality("ocr", pending=2)], WELL, [], "2 jobs of ocr wait and no worker serves it."),
        ([modality(pending=2, due_seconds=61.0)], WELL, [], "A job of text has waited for 61 s."),
        ([modality(completed=30, failed=5)], WELL, [], "5 of 35 jobs of text failed."),
        ([], WELL, [Paused("openai", 12.0)], "openai is paused for 12 s more."),
        ([], [*WELL, process("", name="w-9", seconds_ago=None, holds={"text": 3})], [], "w-9 is silent and 3 jobs"),
        ([], [*WELL, process("edge", version="2")], [], "Versions 1, 2 run side by side."),
    ],
)
def test_each_thing_that_is_wrong_is_said(
    jobs: list[Modality], processes: list[Process], paused: list[Paused], says: str
) -> None:
    (concern,) = concerns(jobs, processes, paused)
    assert concern.says.startswith(says)
    assert (RUNBOOKS / f"{concern.runbook}.md").is_file()
