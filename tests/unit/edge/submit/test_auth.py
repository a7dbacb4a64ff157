"""Virtual keys: looked up once, remembered for seconds, bounded against floods."""

from __future__ import annotations

import asyncio

import pytest

from edge.http.errors import Unauthenticated
from edge.submit import auth
from edge.submit.auth import KeyLookup, permits, permitted
from shared.domain.errors import BadRequest, Forbidden, StoreUnavailable
from shared.domain.target import Target
from tests.support.fakes.store import FakeStore


class Time:
    """A monotonic clock that moves by hand."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def principals(store: FakeStore, time: Time) -> KeyLookup:
    return KeyLookup(store, time, allow_anonymous=False)


async def test_a_key_is_found_by_its_secret(store: FakeStore, principals: KeyLookup) -> None:
    key = store.add_key("sk-bf-one")
    assert await principals.find(b"sk-bf-one") == key
    assert await principals.find(b"sk-bf-two") is None


@pytest.mark.parametrize("secret", [b"\xff\xfe", b"\x00", b"k" * 10_000, "schlüssel".encode()])
async def test_no_secret_breaks_the_lookup(principals: KeyLookup, secret: bytes) -> None:
    assert await principals.find(secret) is None


async def test_a_known_key_is_asked_for_once_in_5_seconds(store: FakeStore, principals: KeyLookup, time: Time) -> None:
    store.add_key("sk-bf-one")
    for _ in range(3):
        await principals.find(b"sk-bf-one")
    assert store.calls["find_key"] == 1
    time.seconds += auth.KNOWN_SECONDS
    await principals.find(b"sk-bf-one")
    assert store.calls["find_key"] == 2


async def test_a_revoked_key_ends_within_5_seconds(store: FakeStore, principals: KeyLookup, time: Time) -> None:
    key = store.add_key("sk-bf-one")
    await principals.find(b"sk-bf-one")
    store.revoke_key(key)
    time.seconds += 5
    assert await principals.find(b"sk-bf-one") is None


async def test_a_new_key_works_within_a_second_even_if_it_was_tried_before(
    store: FakeStore, principals: KeyLookup, time: Time
) -> None:
    assert await principals.find(b"sk-bf-one") is None
    key = store.add_key("sk-bf-one")
    time.seconds += 1
    assert await principals.find(b"sk-bf-one") == key


async def test_those_who_ask_at_the_same_time_share_a_lookup(store: FakeStore, principals: KeyLookup) -> None:
    key = store.add_key("sk-bf-one")
    assert await asyncio.gather(*[principals.find(b"sk-bf-one") for _ in range(50)]) == [key] * 50
    assert store.calls["find_key"] == 1


async def test_one_who_hangs_up_does_not_spoil_the_lookup_for_others(store: FakeStore, principals: KeyLookup) -> None:
    key = store.add_key("sk-bf-one")
    hasty = asyncio.create_task(principals.find(b"sk-bf-one"))
    patient = asyncio.create_task(principals.find(b"sk-bf-one"))
    await asyncio.sleep(0)
    hasty.cancel()
    assert await patient == key


async def test_an_outage_is_not_remembered(store: FakeStore, principals: KeyLookup) -> None:
    key = store.add_key("sk-bf-one")
    store.faults.down = True
    with pytest.raises(StoreUnavailable):
        await principals.find(b"sk-bf-one")
    store.faults.down = False
    assert await principals.find(b"sk-bf-one") == key


async def test_a_flood_of_invented_keys_takes_bounded_memory_and_few_lookups_at_a_time(
    store: FakeStore, principals: KeyLookup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "MAX_REMEMBERED", 50)
    running = most = 0

    async def slow(_verb: str) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    store.faults.before = slow
    await asyncio.gather(*[principals.find(f"sk-bf-{number}".encode()) for number in range(500)])
    assert most <= auth.MAX_LOOKUPS
    assert len(principals._remembered) <= 50
    assert not principals._lookups


async def test_a_submitter_needs_a_valid_key_or_none(store: FakeStore, principals: KeyLookup) -> None:
    key = store.add_key("sk-bf-one")
    assert await principals.submitter(b"sk-bf-one") == key
    assert await principals.submitter(None) is None
    with pytest.raises(BadRequest, match="unknown or revoked"):
        await principals.submitter(b"sk-bf-two")


def test_a_key_is_required_unless_anonymous_callers_are_allowed(store: FakeStore, time: Time) -> None:
    KeyLookup(store, time, allow_anonymous=True).require(None)
    strict = KeyLookup(store, time, allow_anonymous=False)
    strict.require(b"sk-bf-one")
    with pytest.raises(Unauthenticated):
        strict.require(None)


@pytest.mark.parametrize(
    ("models", "model", "allowed"),
    [
        ((), "anything", True),
        (("openai/a",), "a", True),
        (("openai/a",), "b", False),
        (("a",), "a", False),
        (("openai/*",), "meta/llama", True),
        (("groq/*",), "a", False),
        (("groq/a", "openai/b*"), "b-mini", True),
    ],
)
def test_a_list_of_models_holds_names_and_patterns(models: tuple[str, ...], model: str, allowed: bool) -> None:
    key = FakeStore().add_key("sk-bf-one", models=models)
    assert permits(key, Target("openai", model)) is allowed


def test_without_a_key_every_model_is_allowed() -> None:
    assert permits(None, Target("openai", "a"))


def test_a_forbidden_model_is_refused_and_forbidden_fallbacks_are_dropped() -> None:
    key = FakeStore().add_key("sk-bf-one", models=("openai/a", "openai/c"))
    a, b, c = (Target("openai", name) for name in "abc")
    assert permitted(key, (a, b, c)) == (a, c)
    with pytest.raises(Forbidden, match="openai/b"):
        permitted(key, (b, a))
