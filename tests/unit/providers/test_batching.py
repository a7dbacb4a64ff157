"""Who travels with whom, and what becomes of the members of a batch that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from tests.support.jobs import eventually
from tests.unit.providers.test_embedding_batch import answered, call
from workers.providers import errors
from workers.providers.base import Answer, Call, ProviderError
from workers.providers.batching import BatchingProvider
from workers.providers.embedding_batch import Limits


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
    provider = BatchingProvider(inner, Limits(8, in_turn=True))
    first = asyncio.create_task(provider.call(call("a", number=1)))
    await eventually(lambda: len(inner.calls) == 1)
    rest = [asyncio.create_task(provider.call(call(text, number=ord(text)))) for text in "bc"]
    await asyncio.sleep(0.02)
    assert len(inner.calls) == 1
    inner.open.set()
    assert [vector(answer) for answer in await asyncio.gather(first, *rest)] == ["a", "b", "c"]
    assert inner.texts == ["a", ["b", "c"]]


async def test_a_poison_text_fails_alone() -> None:
    inner = Inner()
    inner.refuse = lambda texts: errors.bad_request("poison") if "p" in texts else None
    provider = BatchingProvider(inner, Limits(8))
    outcomes = await together(*(provider.call(call(text, number=ord(text))) for text in "apb"))
    assert [outcome if isinstance(outcome, ProviderError) else vector(outcome) for outcome in outcomes] == [  # type: ignore[arg-type]
        "a",
        outcomes[1],
        "b",
    ]
    assert isinstance(outcomes[1], ProviderError)
    assert [type(given) for given in inner.texts] == [list, str, str, str]
    assert len({each.call_id for each in inner.calls}) == 4


async def test_what_is_left_of_the_time_bounds_the_second_try() -> None:
    inner = Inner()
    inner.refuse = lambda texts: errors.bad_request("no batches here") if len(texts) > 1 else None
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
