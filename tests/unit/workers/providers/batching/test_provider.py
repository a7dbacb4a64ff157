"""Who travels with whom, and what becomes of the members of a batch that fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from tests.support.jobs import eventually
from tests.unit.workers.providers.batching.test_embeddings import answered, call
from workers import error_classification
from workers.provider_interface import CALLS, Answer, Call, Calls, ProviderError
from workers.providers.batching.embeddings import Limits
from workers.providers.batching.provider import BatchingProvider


class Inner:
    """A provider that keeps its calls, can be held back, and refuses what `refuse` names."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.open = asyncio.Event()
        self.open.set()
        self.refuse: Callable[[list[str]], ProviderError | None] = lambda texts: None
        self.cancelled = 0

    async def call(self, call: Call) -> Answer:
        self.calls.append(call)
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        given = msgspec.json.decode(call.content.data)["input"]
        error = self.refuse(given if isinstance(given, list) else [given])
        if error is not None:
            raise error
        if isinstance(given, str):
            call = msgspec.structs.replace(call, content=_content(call, [given]))
        return answered(call)

    async def close(self) -> None:
        """Nothing to give back."""

    @property
    def texts(self) -> list[Any]:
        """The inputs of all calls."""
        return [msgspec.json.decode(each.content.data)["input"] for each in self.calls]


def _content(call: Call, given: list[str]) -> Any:
    return msgspec.structs.replace(call.content, data=msgspec.json.encode({"input": given}))


def vector(answer: Answer) -> Any:
    """The only vector of an answer."""
    (only,) = msgspec.json.decode(answer.body)["data"]
    return only["embedding"]


async def together(*calls: Awaitable[Answer]) -> list[Answer | BaseException]:
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_a_call_that_comes_alone_goes_as_it_is() -> None:
    inner = Inner()
    alone = call("a")
    await BatchingProvider(inner, Limits(8)).call(alone)
    assert inner.calls == [alone]


async def test_calls_of_one_moment_are_one_call() -> None:
    inner = Inner()
    provider = BatchingProvider(inner, Limits(8))
    answers = await asyncio.gather(*(provider.call(call(text, number=ord(text))) for text in "abc"))
    assert inner.texts == [["a", "b", "c"]]
    assert [vector(answer) for answer in answers] == ["a", "b", "c"]


async def test_a_batch_holds_no_more_texts_than_allowed() -> None:
    inner = Inner()
    provider = BatchingProvider(inner, Limits(4))
    await asyncio.gather(*(provider.call(call([text, text], number=ord(text))) for text in "abc"))
    assert inner.texts == [["a", "a", "b", "b"], ["c", "c"]]


async def test_a_batch_holds_no_more_bytes_than_allowed() -> None:
    inner = Inner()
    provider = BatchingProvider(inner, Limits(8, text_bytes=20))
    await asyncio.gather(*(provider.call(call(text * 6, number=ord(text))) for text in "abc"))
    assert inner.texts == [["aaaaaa", "bbbbbb"], "cccccc"]


async def test_other_parameters_are_another_call() -> None:
    inner = Inner()
    provider = BatchingProvider(inner, Limits(8))
    await asyncio.gather(provider.call(call("a")), provider.call(call("b", dimensions=2)), provider.call(call("c")))
    assert sorted(inner.texts, key=str) == [["a", "c"], "b"]


async def test_a_provider_with_one_call_at_a_time_gets_the_next_when_it_has_ended() -> None:
    inner = Inner()
    inner.open.clear()
    provider = BatchingProvider(inner, Limits(8, serial=True))
    first = asyncio.create_task(provider.call(call("a", number=1)))
    await eventually(lambda: len(inner.calls) == 1)
    rest = [asyncio.create_task(provider.call(call(text, number=ord(text)))) for text in "bc"]
    (group,) = provider._groups.values()
    await eventually(lambda: group._gathering is not None and group._gathering.texts == 2)
    assert len(inner.calls) == 1
    inner.open.set()
    assert [vector(answer) for answer in await asyncio.gather(first, *rest)] == ["a", "b", "c"]
    assert inner.texts == ["a", ["b", "c"]]


async def test_a_poison_text_fails_alone() -> None:
    inner = Inner()
    inner.refuse = lambda texts: error_classification.bad_request("poison") if "p" in texts else None
    provider = BatchingProvider(inner, Limits(8))
    outcomes = await together(*(provider.call(call(text, number=ord(text))) for text in "apb"))
    assert [outcome if isinstance(outcome, ProviderError) else vector(outcome) for outcome in outcomes] == [  # type: ignore[arg-type]
        "a",
        outcomes[1],
        "b",
    ]
    assert isinstance(outcomes[1], ProviderError)
    assert inner.texts == [["a", "p", "b"], "a", ["p", "b"], "p", "b"]
    assert len({each.call_id for each in inner.calls}) == 5


async def test_a_poison_text_among_many_costs_a_few_calls_and_one_at_a_time() -> None:
    inner = Inner()
    inner.refuse = lambda texts: error_classification.bad_request("poison") if "poison" in texts else None
    made, under_way, most = inner.call, 0, 0

    async def watched(call: Call) -> Answer:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        try:
            return await made(call)
        finally:
            under_way -= 1

    inner.call = watched  # type: ignore[method-assign]
    provider = BatchingProvider(inner, Limits(64))
    texts = [f"t{number}" if number != 41 else "poison" for number in range(64)]
    outcomes = await together(*(provider.call(call(text, number=number)) for number, text in enumerate(texts)))
    assert [number for number, outcome in enumerate(outcomes) if isinstance(outcome, ProviderError)] == [41]
    assert len(inner.calls) == 1 + 2 * 6
    assert most == 1


FOR_EACH = {
    "500": error_classification.from_answer(500, b"", {}),
    "503": error_classification.from_answer(503, b"", {}),
    "401": error_classification.from_answer(401, b"", {}),
    "402": error_classification.from_answer(402, b"", {}),
    "404": error_classification.from_answer(404, b"", {}),
    "reset": error_classification.connection_failed("reset"),
    "timed out": error_classification.timed_out(60.0),
}


@pytest.mark.parametrize("error", FOR_EACH.values(), ids=FOR_EACH)
async def test_a_failure_that_no_text_is_to_blame_for_makes_no_further_call(error: ProviderError) -> None:
    inner = Inner()
    inner.refuse = lambda texts: error
    provider = BatchingProvider(inner, Limits(64))
    outcomes = await together(*(provider.call(call("a", number=number)) for number in range(63)))
    assert outcomes == [error] * 63
    assert len(inner.calls) == 1


async def test_the_time_of_a_call_bounds_all_that_is_made_of_it() -> None:
    inner = Inner()

    def slow(texts: list[str]) -> ProviderError | None:
        time.sleep(0.03)  # longer than a call may take
        return error_classification.bad_request("no batches here") if len(texts) > 1 else None

    inner.refuse = slow
    provider = BatchingProvider(inner, Limits(8))
    calls = [msgspec.structs.replace(call(text, number=ord(text)), timeout=0.02) for text in "abcd"]
    outcomes = await together(*(provider.call(each) for each in calls))
    assert all(isinstance(outcome, ProviderError) and outcome.status_code == 400 for outcome in outcomes)
    assert len(inner.calls) == 1


async def test_what_is_left_of_the_time_bounds_the_second_try() -> None:
    inner = Inner()
    inner.refuse = lambda texts: error_classification.bad_request("no batches here") if len(texts) > 1 else None
    provider = BatchingProvider(inner, Limits(8))
    await asyncio.gather(provider.call(call("a", number=1)), provider.call(call("b", number=2)))
    assert [each.timeout < 60.0 for each in inner.calls] == [False, True, True]


@pytest.mark.parametrize("status", [429, 503])
async def test_a_provider_that_asks_for_fewer_calls_gets_none_for_each_member(status: int) -> None:
    inner = Inner()
    inner.refuse = lambda texts: ProviderError(
        "busy", status_code=status, error_type="provider_overloaded", retryable=True, retry_after=2.0
    )
    provider = BatchingProvider(inner, Limits(8))
    outcomes = await together(provider.call(call("a", number=1)), provider.call(call("b", number=2)))
    assert [isinstance(outcome, ProviderError) and outcome.status_code for outcome in outcomes] == [status, status]
    assert len(inner.calls) == 1


async def test_an_answer_with_too_few_vectors_is_asked_for_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = Inner()
    honest = inner.call

    async def lose_one(call: Call) -> Answer:
        answer = await honest(call)
        fields = msgspec.json.decode(answer.body)
        kept = fields["data"][:1]
        return msgspec.structs.replace(answer, body=msgspec.json.encode(fields | {"data": kept}))

    monkeypatch.setattr(inner, "call", lose_one)
    provider = BatchingProvider(inner, Limits(8))
    answers = await asyncio.gather(provider.call(call("a", number=1)), provider.call(call("b", number=2)))
    assert [vector(answer) for answer in answers] == ["a", "b"]
    assert len(inner.calls) == 3


async def test_a_member_that_goes_away_takes_nothing_from_the_others() -> None:
    inner = Inner()
    inner.open.clear()
    provider = BatchingProvider(inner, Limits(8))
    tasks = [asyncio.create_task(provider.call(call(text, number=ord(text)))) for text in "ab"]
    await eventually(lambda: len(inner.calls) == 1)
    tasks[0].cancel()
    await asyncio.wait([tasks[0]])
    inner.open.set()
    assert vector(await tasks[1]) == "b"
    assert tasks[0].cancelled()


async def test_a_call_that_nobody_waits_for_is_given_up() -> None:
    inner = Inner()
    inner.open.clear()
    provider = BatchingProvider(inner, Limits(8))
    tasks = [asyncio.create_task(provider.call(call(text, number=ord(text)))) for text in "ab"]
    await eventually(lambda: len(inner.calls) == 1)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await eventually(lambda: inner.cancelled == 1)


async def test_nothing_is_remembered_of_what_has_ended() -> None:
    provider = BatchingProvider(Inner(), Limits(8))
    await asyncio.gather(*(provider.call(call("a", number=number, user=str(number))) for number in range(20)))
    await eventually(lambda: not provider._groups)


async def counted(provider: BatchingProvider, calls: Calls, text: str) -> Answer:
    CALLS.set(calls)
    await calls.begin()
    return await provider.call(call(text))


async def test_a_call_begins_for_each_member_when_its_batch_departs_and_not_before() -> None:
    inner = Inner()
    inner.open.clear()
    provider = BatchingProvider(inner, Limits(3))
    members = [Calls() for _ in range(5)]
    tasks = [asyncio.create_task(counted(provider, each, f"t{number}")) for number, each in enumerate(members)]
    await eventually(lambda: len(inner.calls) == 2 or None)
    late = Calls()
    gathering = asyncio.create_task(counted(provider, late, "late"))
    await eventually(lambda: late.begun == 0 or None)
    assert [each.begun for each in members] == [1] * 5
    inner.open.set()
    await asyncio.gather(*tasks, gathering)
    assert [each.begun for each in (*members, late)] == [1] * 6


async def test_a_batch_that_waits_for_a_place_has_begun_for_none_of_its_members() -> None:
    class Waiting(Inner):
        async def call(self, call: Call) -> Answer:
            await CALLS.get().put_off()
            answer = await super().call(call)
            await CALLS.get().begin()
            return answer

    inner = Waiting()
    inner.open.clear()
    provider = BatchingProvider(inner, Limits(3))
    members = [Calls() for _ in range(3)]
    tasks = [asyncio.create_task(counted(provider, each, f"t{number}")) for number, each in enumerate(members)]
    await eventually(lambda: bool(inner.calls) or None)
    assert [each.begun for each in members] == [0, 0, 0]
    inner.open.set()
    await asyncio.gather(*tasks)
    assert [each.begun for each in members] == [1, 1, 1]
