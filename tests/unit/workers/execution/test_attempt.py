"""One attempt: fallbacks, pauses, budgets and deadlines, without I/O."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.target import Target
from shared.settings.table import Settings
from tests.support.fakes.store import FakeClock, FakeStore
from tests.support.jobs import claimed_job
from workers.error_classification import no_slot
from workers.execution.attempt import Attempts
from workers.execution.attempt_outcome import Deferred, Failed, Retry, Succeeded
from workers.execution.provider_pauses import Pauses
from workers.execution.retry import RetryPolicy
from workers.provider_interface import Answer, Call, ProviderError

EMBEDDING = b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5]}]}'
TARGETS = (Target("first", "m"), Target("second", "m"), Target("third", "m"))


class Scripted:
    """A provider that does what `act` says, and counts."""

    def __init__(self, act: Callable[[], bytes] | None = None) -> None:
        self.act = act or (lambda: EMBEDDING)
        self.calls: list[Call] = []

    async def call(self, call: Call) -> Answer:
        self.calls.append(call)
        return Answer(self.act(), "application/json", "up-1")

    async def close(self) -> None: ...


class Hanging(Scripted):
    async def call(self, call: Call) -> Answer:
        self.calls.append(call)
        await asyncio.Event().wait()
        raise AssertionError


def failing(status: int, *, retryable: bool = True, retry_after: float | None = None) -> Scripted:
    def act() -> bytes:
        raise ProviderError(
            "no", status_code=status, error_type="provider_server_error", retryable=retryable, retry_after=retry_after
        )

    return Scripted(act)


def attempts(providers: Mapping[str, Scripted], *, max_failures: int = 3, result_bytes: int = 10_000) -> Attempts:
    store = FakeStore(Settings(), clock=FakeClock(running=True))
    return Attempts(
        store=store,
        providers=providers,
        pauses=Pauses(store, providers, longest=300.0),
        policy=RetryPolicy(max_failures, base=1.0, cap=60.0),
        call_seconds=5.0,
        result_bytes=result_bytes,
        body_bytes=1_000_000,
        worker="w",
        draw=lambda: 0.5,
    )


async def test_an_answer_becomes_the_result_with_its_extra_fields() -> None:
    outcome = await attempts({"openai": Scripted()}).execute(claimed_job())
    assert isinstance(outcome, Succeeded)
    extra = msgspec.json.decode(outcome.result)["extra_fields"]
    assert (extra["provider"], extra["request_type"], extra["model_requested"]) == ("openai", "embedding", "m")
    assert (outcome.notes[0].outcome, outcome.notes[0].upstream_request_id) == ("200", "up-1")


async def test_a_passing_failure_is_retried_later_on_the_same_target() -> None:
    outcome = await attempts({"openai": failing(500)}).execute(claimed_job(failures=1))
    assert isinstance(outcome, Retry)
    assert (outcome.failures, outcome.target, outcome.due_in) == (2, 0, 1.0)


async def test_the_last_allowed_failure_ends_the_job_with_the_providers_status() -> None:
    outcome = await attempts({"openai": failing(502)}).execute(claimed_job(failures=2))
    assert isinstance(outcome, Failed)
    assert outcome.status_code == 502


async def test_a_lasting_failure_tries_the_fallbacks_in_order_at_once() -> None:
    providers = {"first": failing(401, retryable=False), "second": failing(404, retryable=False), "third": Scripted()}
    outcome = await attempts(providers).execute(claimed_job(targets=TARGETS))
    assert isinstance(outcome, Succeeded)
    assert [note.provider for note in outcome.notes] == ["first", "second", "third"]
    assert msgspec.json.decode(outcome.result)["extra_fields"]["provider"] == "third"


async def test_a_fallback_that_may_pass_keeps_its_own_count() -> None:
    providers = {"first": failing(400, retryable=False), "second": failing(500), "third": Scripted()}
    outcome = await attempts(providers).execute(claimed_job(targets=TARGETS, failures=2))
    assert isinstance(outcome, Retry)
    assert (outcome.target, outcome.failures) == (1, 1)


async def test_a_429_spends_nothing_and_waits_as_long_as_asked() -> None:
    provider = failing(429, retry_after=7)
    runner = attempts({"openai": provider})
    for _ in range(50):
        outcome = await runner.execute(claimed_job(failures=2))
        assert isinstance(outcome, Deferred)
        assert 6.9 < outcome.due_in < 14
    assert len(provider.calls) == 1


async def test_a_call_that_found_no_place_spends_no_failure_however_often() -> None:
    def act() -> bytes:
        raise no_slot(5.0)

    runner = attempts({"openai": Scripted(act)})
    for _ in range(10):
        outcome = await runner.execute(claimed_job(failures=2))
        assert isinstance(outcome, Deferred)
        assert 1.0 <= outcome.due_in <= 2.0
        assert outcome.notes == (), "what did not begin is no call of the job's history"


async def test_a_call_that_found_no_place_leaves_the_job_to_its_fallback() -> None:
    def act() -> bytes:
        raise no_slot(5.0)

    outcome = await attempts({"first": Scripted(act), "second": Scripted()}).execute(claimed_job(targets=TARGETS[:2]))
    assert isinstance(outcome, Succeeded)


async def test_a_429_for_one_model_lets_jobs_of_another_model_of_the_provider_through() -> None:
    def act() -> bytes:
        if provider.calls[-1].model == "busy":
            raise ProviderError("no", status_code=429, error_type="provider_rate_limited", retryable=True)
        return EMBEDDING

    provider = Scripted(act)
    runner = attempts({"openai": provider})
    assert isinstance(await runner.execute(claimed_job(targets=(Target("openai", "busy"),))), Deferred)
    assert isinstance(await runner.execute(claimed_job(targets=(Target("openai", "idle"),))), Succeeded)


async def test_a_paused_provider_is_passed_over_for_a_fallback() -> None:
    providers = {"first": failing(429, retry_after=60), "second": Scripted()}
    runner = attempts(providers)
    for _ in range(3):
        assert isinstance(await runner.execute(claimed_job(targets=TARGETS[:2])), Succeeded)
    assert (len(providers["first"].calls), len(providers["second"].calls)) == (1, 3)


async def test_a_busy_local_model_does_not_hold_up_the_others() -> None:
    def act() -> bytes:
        if len(local.calls) == 1:
            raise ProviderError(
                "busy", status_code=503, error_type="provider_overloaded", retryable=True, retry_after=60
            )
        return EMBEDDING

    local = Scripted(act)
    runner = attempts({"local": local})
    assert isinstance(await runner.execute(claimed_job(targets=(Target("local", "busy"),))), Deferred)
    assert isinstance(await runner.execute(claimed_job(targets=(Target("local", "idle"),))), Succeeded)


async def test_a_dead_fallback_of_a_paused_target_spends_failures_and_so_ends() -> None:
    runner = attempts({"first": failing(429, retry_after=60), "second": failing(400, retryable=False)})
    outcome = await runner.execute(claimed_job(targets=TARGETS[:2]))
    assert isinstance(outcome, Retry)
    assert (outcome.target, outcome.failures) == (0, 1)
    assert isinstance(await runner.execute(claimed_job(targets=TARGETS[:2], failures=2)), Failed)


async def test_a_call_that_outlasts_the_jobs_deadline_ends_it_with_504() -> None:
    outcome = await attempts({"openai": Hanging()}).execute(claimed_job(deadline_in=0.02))
    assert isinstance(outcome, Failed)
    assert outcome.status_code == 504


async def test_a_result_above_the_bound_is_an_error_and_not_stored() -> None:
    outcome = await attempts({"openai": Scripted()}, result_bytes=20).execute(claimed_job(failures=2))
    assert isinstance(outcome, Failed)
    assert outcome.status_code == 502
    assert b"max_result_bytes" in outcome.error


async def test_what_a_failed_call_had_read_is_let_go_with_it_and_not_only_by_the_garbage_collector() -> None:
    class Body:
        pass

    bodies: list[weakref.ref[Body]] = []

    def act() -> bytes:
        body = Body()
        bodies.append(weakref.ref(body))
        raise ProviderError("too large", status_code=502, error_type="provider_server_error", retryable=False)

    gc.disable()
    try:
        assert isinstance(await attempts({"openai": Scripted(act)}).execute(claimed_job()), Failed)
        assert bodies[0]() is None
    finally:
        gc.enable()


async def test_a_provider_nobody_configured_is_named() -> None:
    outcome = await attempts({}).execute(claimed_job())
    assert isinstance(outcome, Failed)
    assert b"'openai' is not configured" in outcome.error


async def test_an_unexpected_error_ends_the_job_and_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def act() -> bytes:
        raise KeyError("sk-secret")

    outcome = await attempts({"openai": Scripted(act)}).execute(claimed_job())
    assert isinstance(outcome, Failed)
    assert outcome.status_code == 500
    assert b"sk-secret" not in outcome.error


async def test_every_call_has_an_id_of_its_own() -> None:
    providers = {"first": failing(400, retryable=False), "second": Scripted()}
    await attempts(providers).execute(claimed_job(targets=TARGETS[:2]))
    ids = [call.call_id for provider in providers.values() for call in provider.calls]
    assert len(set(ids)) == 2


@given(
    statuses=st.lists(st.sampled_from([400, 401, 408, 429, 500, 503]), min_size=1, max_size=3),
    failures=st.integers(0, 2),
)
def test_no_attempt_calls_a_target_twice(statuses: list[int], failures: int) -> None:
    names = ["first", "second", "third"][: len(statuses)]
    providers = {name: failing(status, retryable=status >= 408) for name, status in zip(names, statuses, strict=True)}
    job = claimed_job(targets=TARGETS[: len(statuses)], failures=failures)
    asyncio.run(attempts(providers).execute(job))
    assert all(len(provider.calls) <= 1 for provider in providers.values())
