"""What is told about a job from what is stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from coatcheck.status.timeline import paused_of, timeline

START = datetime(2026, 7, 25, 10, 0, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def history(**more: Any) -> dict[str, Any]:
    return {"type": "embedding", "status": "pending", "created_at": START, "attempts": [], **more}


def call(outcome: str, milliseconds: int, due: float, claimed: float, recorded: float) -> dict[str, Any]:
    return {
        "worker": "w-1",
        "provider": "openai",
        "outcome": outcome,
        "milliseconds": milliseconds,
        "due": at(due),
        "claimed": at(claimed),
        "source": "notified",
        "recorded": at(recorded),
    }


def test_where_the_time_went_adds_up_to_the_time_until_the_end() -> None:
    told = timeline(
        history(
            status="completed",
            status_code=200,
            completed_at=at(10),
            attempts=[call("503", 500, -0.1, 1, 1.75), call("200", 2000, 4, 7, 10)],
        ),
        at(99),
    )
    assert told.until == 10
    assert told.spent == {
        "waiting for a worker": 4.0,
        "in the provider": 2.5,
        "recording": 1.25,
        "between attempts": 2.25,
    }
    assert sum(told.spent.values()) == told.until


def test_steps_come_in_order_and_say_how_calls_came_out() -> None:
    told = timeline(
        history(status="failed", status_code=503, completed_at=at(2), attempts=[call("503", 500, 0, 1, 2)]), at(99)
    )
    assert [step.kind for step in told.steps] == ["accepted", "waited", "claimed", "call", "recorded", "ended"]
    assert [step.at for step in told.steps] == sorted(step.at for step in told.steps)
    assert [step.good for step in told.steps if step.good is not None] == [False, False]
    assert "a notification led to it" in told.steps[2].text


def test_calls_to_several_targets_under_one_claim_follow_each_other() -> None:
    told = timeline(
        history(
            status="completed",
            completed_at=at(2),
            attempts=[call("500", 300, 0, 1, 2), call("200", 600, 0, 1, 2)],
        ),
        at(99),
    )
    assert [(step.at, step.seconds) for step in told.steps if step.kind == "call"] == [(1.0, 0.3), (1.3, 0.6)]


def test_a_job_that_was_never_claimed_says_when_it_is_due() -> None:
    told = timeline(history(wake_at=at(-0.1)), at(5))
    assert [(step.kind, step.at) for step in told.steps] == [("accepted", 0.0), ("next", 0.0)]
    assert told.until == 5


def test_claims_without_a_call_are_counted_and_explained() -> None:
    claim = {"worker": "w-1", "due": at(0), "at": at(1), "taken_over": False, "source": "notified"}
    told = timeline(history(claims=8, wake_at=at(99), last_claim=claim, attempts=[call("429", 5, 0, 0.5, 0.6)]), at(50))
    assert told.untold.startswith("6 of them without a call that was noted: the providers were paused")
    assert timeline(history(claims=1, last_claim=claim, wake_at=at(99)), at(50)).untold == ""


def test_a_waiting_job_knows_the_pauses_it_waits_for() -> None:
    paused = {"openai": 12.0, "local/minilm": 3.0, "groq": 9.0}
    waiting = history(targets=["openai/gpt-4o", "local/minilm"])
    assert paused_of(waiting, paused) == {"openai": 12.0, "local/minilm": 3.0}
    assert paused_of(waiting, {"openai/gpt-4o": 2.0, "openai/gpt-4": 9.0}) == {"openai/gpt-4o": 2.0}
    assert paused_of(waiting | {"status": "completed"}, paused) == {}


def test_a_running_job_names_its_worker_and_how_it_was_found() -> None:
    claim = {"worker": "w-9", "due": at(0), "at": at(3), "source": "swept", "taken_over": True}
    told = timeline(history(status="processing", last_claim=claim, wake_at=at(33)), at(5))
    assert [step.kind for step in told.steps] == ["accepted", "waited", "claimed", "next"]
    assert told.steps[2].text == "claimed by w-9, the sweep found it, taken over: the lease before it ran out"


def test_calls_noted_by_a_version_without_times_are_still_told() -> None:
    old = {"worker": "w-1", "provider": "openai", "outcome": "200", "milliseconds": 7, "upstream_request_id": "req_1"}
    claim = {"worker": "w-1", "due": at(0), "at": at(1)}
    told = timeline(history(status="completed", completed_at=at(2), attempts=[old], last_claim=claim), at(9))
    assert [step.kind for step in told.steps] == ["accepted", "call", "waited", "claimed", "ended"]
    assert told.steps[1].text == "openai answered 200, its request req_1"
