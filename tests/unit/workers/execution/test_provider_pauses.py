"""What is paused, for how long, and whose word counts on it: the worker's own or the database's."""

from __future__ import annotations

from datetime import timedelta

import pytest

from shared.domain.errors import StoreUnavailable
from shared.domain.target import Target
from shared.settings.table import Settings
from shared.telemetry.metrics import PROVIDERS_PAUSED
from tests.support.fakes.store import FakeClock, FakeStore
from workers.execution.provider_pauses import Pauses
from workers.provider_interface import ProviderError

LARGE, SMALL = Target("openai", "large"), Target("openai", "small")
LONGEST = 300.0


@pytest.fixture
def store() -> FakeStore:
    return FakeStore(Settings(), clock=FakeClock(running=True))


@pytest.fixture
def pauses(store: FakeStore) -> Pauses:
    return Pauses(store, ["openai", "groq"], LONGEST)


def limited(retry_after: float | None = None) -> ProviderError:
    return ProviderError(
        "x", status_code=429, error_type="provider_rate_limited", retryable=True, retry_after=retry_after
    )


def shown(provider: str) -> float:
    return float(PROVIDERS_PAUSED.labels(provider)._value.get())


async def test_a_429_for_one_model_pauses_neither_the_others_nor_a_model_of_its_name_elsewhere(
    pauses: Pauses, store: FakeStore
) -> None:
    await pauses.pause(LARGE, limited(30))
    await pauses.refresh()
    assert 29 < pauses.left(LARGE) <= 30
    assert pauses.left(SMALL) == pauses.left(Target("groq", "large")) == 0.0
    assert list(store.paused) == ["openai/large"]


async def test_the_pause_of_a_provider_as_a_whole_pauses_all_its_models(pauses: Pauses, store: FakeStore) -> None:
    await store.pause("openai", 30)
    await pauses.refresh()
    assert pauses.left(LARGE) > 29
    assert pauses.left(SMALL) > 29
    assert pauses.left(Target("groq", "large")) == 0.0


async def test_the_gauge_shows_a_provider_while_it_or_a_model_of_it_is_paused(pauses: Pauses, store: FakeStore) -> None:
    await pauses.pause(LARGE, limited(30))
    assert (shown("openai"), shown("groq")) == (1.0, 0.0)
    await store.resume(["openai/large"])
    await store.pause("groq", 30)
    await pauses.refresh()
    assert (shown("openai"), shown("groq")) == (0.0, 1.0)


async def test_an_hour_that_a_provider_asks_for_is_cut_to_the_longest_pause(pauses: Pauses, store: FakeStore) -> None:
    await pauses.pause(LARGE, limited(3600))
    assert LONGEST - 1 < pauses.left(LARGE) <= LONGEST
    assert store.paused["openai/large"] <= store.now() + timedelta(seconds=LONGEST)


async def test_a_job_is_never_told_to_stay_away_for_longer_than_the_longest_pause(
    pauses: Pauses, store: FakeStore
) -> None:
    await store.pause("openai", 86_400)
    await pauses.refresh()
    assert pauses.left(LARGE) == LONGEST


async def test_a_pause_that_is_gone_from_the_database_ends_here_too(pauses: Pauses, store: FakeStore) -> None:
    await pauses.pause(LARGE, limited(30))
    await store.pause("openai", 30)
    await pauses.refresh()
    await store.resume(["openai", "openai/large"])
    await pauses.refresh()
    assert pauses.left(LARGE) == 0.0


async def test_a_pause_that_could_not_be_shared_holds_here_until_its_end(pauses: Pauses, store: FakeStore) -> None:
    store.faults.down = True
    await pauses.pause(LARGE, limited(30))
    with pytest.raises(StoreUnavailable):
        await pauses.refresh()
    store.faults.down = False
    await pauses.refresh()
    assert pauses.left(LARGE) > 29


async def test_a_pause_that_is_made_while_the_database_is_read_is_not_lost(pauses: Pauses, store: FakeStore) -> None:
    read = store.pauses

    async def read_before() -> list[object]:
        found = await read()
        await pauses.pause(LARGE, limited(30))
        return [*found]

    store.pauses = read_before  # type: ignore[method-assign, assignment]
    await pauses.refresh()
    assert pauses.left(LARGE) > 29


async def test_of_models_that_clients_name_and_that_are_over_nothing_is_kept(pauses: Pauses, store: FakeStore) -> None:
    for number in range(3000):
        await pauses.pause(Target("openai", f"m{number}"), limited(0.001))
    store.paused.clear()
    await pauses.refresh()
    assert not pauses._own
    assert not pauses._stored
    assert len(pauses._streaks) <= 1000
