"""The facts as text."""

from __future__ import annotations

from datetime import UTC, datetime

from coatcheck.cli.operate.top import lines, spark
from coatcheck.status.causes import Cause
from coatcheck.status.facts import Facts
from coatcheck.status.model import Concern, Modality, Paused, Process, Series

NOW = datetime(2026, 7, 25, tzinfo=UTC)


def test_top_says_what_the_page_says() -> None:
    series = Series(
        accepted=9, completed=7, failed=2, accepted_per_second=[0.0, 0.9], ended_per_second=[0.0, 0.9], p50=0.25,
        p95=4.0, p50s=[None, 0.25], p95s=[None, 4.0],
    )  # fmt: skip
    facts = Facts(
        at=NOW, concerns=[Concern("A job of text has waited for 99 s.", "CoatcheckJobsWait")],
        window_seconds=570, slot_seconds=10,
        modalities=[
            Modality(
                name="text", pending=100_000, pending_capped=True, processing=3, processing_capped=False,
                oldest_seconds=99.0, due_seconds=9.0, series=series,
            )
        ],
        processes=[
            Process(name="w-1", component="worker", version="1", seconds_ago=2.2, slots=10, holds={"text": 3}),
            Process(name="w-9", component="", holds={"text": 1}, longest_seconds=80.0),
        ],
        held_partial=False,
        causes=[
            Cause(
                modality="text", provider="openai", status_code=400, words="no such model", count=2, last_at=NOW,
                last_job="019",
            )
        ],
        causes_problem="", failures=2, failure_seconds=3600, paused=[Paused("groq", 12.0)], database_milliseconds=3.0,
    )  # fmt: skip
    text = "\n".join(lines(facts))
    assert text.startswith("A job of text has waited for 99 s.  Runbook: CoatcheckJobsWait\n")
    for expected in ("100000+", "99.0 s", "250 ms", "4.0 s", "▁█", "3 text", "2 s ago", "silent", "80.0 s",
                     "no such model", "019", "groq"):  # fmt: skip
        assert expected in text


def test_top_says_which_failures_it_leaves_out() -> None:
    cause = Cause(
        modality="text", provider="openai", status_code=400, words="no such model", count=480, last_at=NOW, last_job="0"
    )
    facts = Facts(
        at=NOW, concerns=[], window_seconds=570, slot_seconds=10, modalities=[], processes=[], held_partial=False,
        causes=[cause], causes_problem="", failures=500, failure_seconds=3600, paused=[], database_milliseconds=3.0,
    )  # fmt: skip
    text = "\n".join(lines(facts))
    assert "Of the last 60 minutes the newest 500; there may be more." in text
    assert "20 failed for other causes" in text


def test_a_spark_is_as_high_as_its_share() -> None:
    assert spark([0, 1, 2]) == "▁▅█"
    assert spark([0, 0]) == ""
    assert spark([]) == ""
