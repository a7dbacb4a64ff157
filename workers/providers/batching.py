"""A provider whose embedding calls travel together: gathers those that come at the same moment, makes one call of them
and hands each its own answer. A batch that fails is nobody's failure: its members are called for one by one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from shared.metrics import EMBEDDING_BATCH
from workers.providers import errors
from workers.providers.base import Answer, Call, Provider, ProviderError
from workers.providers.embedding_batch import Key, Limits, Part, merge, part_of, patience, split

log = logging.getLogger(__name__)


class BatchFailed(Exception):
    """The call for all failed; `error` is why."""

    def __init__(self, error: ProviderError) -> None:
        super().__init__(error.message)
        self.error = error


class BatchingProvider:
    """Wraps a provider. Calls that may not or cannot travel with others go through untouched."""

    def __init__(self, inner: Provider, limits: Limits) -> None:
        self._inner = inner
        self._limits = limits
        self._groups: dict[Key, _Group] = {}

    async def call(self, call: Call) -> Answer:
        """Makes the call within `call.timeout` seconds, a second try alone included. Raises ProviderError."""
        part = part_of(call, self._limits)
        if part is None:
            return await self._inner.call(call)
        began = asyncio.get_running_loop().time()
        try:
            return await self._group(part.key).join(call, part)
        except BatchFailed as failed:
            left = call.timeout - (asyncio.get_running_loop().time() - began)
            if left <= 0 or _asks_for_fewer_calls(failed.error):
                raise failed.error from None
            return await self._inner.call(msgspec.structs.replace(call, timeout=left))

    async def close(self) -> None:
        """Closes the provider. Safe to call twice."""
        await self._inner.close()

    def _group(self, key: Key) -> _Group:
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(self._inner, self._limits, lambda: self._groups.pop(key, None))
        return group


def _asks_for_fewer_calls(error: ProviderError) -> bool:
    """A provider that is too busy for one call must not get as many as there are members."""
    return error.status_code == 429 or (error.status_code == 503 and error.retry_after is not None)


@dataclass(slots=True, eq=False)
class _Member:
    """One job's call in a batch."""

    call: Call
    part: Part
    answer: asyncio.Future[Answer]


@dataclass(slots=True, eq=False)
class _Batch:
    """What leaves together."""

    members: list[_Member] = field(default_factory=list)
    texts: int = 0
    size: int = 0
    task: asyncio.Task[None] | None = None

    def fits(self, part: Part, limits: Limits) -> bool:
        return self.texts + len(part.texts) <= limits.texts and self.size + part.size <= limits.text_bytes

    def add(self, member: _Member) -> None:
        self.members.append(member)
        self.texts += len(member.part.texts)
        self.size += member.part.size

    def waited_for(self) -> list[_Member]:
        """Members whose jobs have not gone away."""
        return [member for member in self.members if not member.answer.done()]


class _Group:
    """The calls with one key: at most one batch gathers, any number are under way. `forget` is called when idle."""

    def __init__(self, provider: Provider, limits: Limits, forget: Callable[[], object]) -> None:
        self._provider = provider
        self._limits = limits
        self._forget = forget
        self._gathering: _Batch | None = None
        self._timer: asyncio.Handle | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        self._last = float("-inf")

    async def join(self, call: Call, part: Part) -> Answer:
        """Travel with the next batch. Raises BatchFailed, or ProviderError when nobody else was in it."""
        member = _Member(call, part, asyncio.get_running_loop().create_future())
        batch = self._board(member)
        try:
            return await member.answer
        finally:
            if batch.task is not None and not batch.waited_for():
                batch.task.cancel()  # nothing to do with a batch that has answered

    def _board(self, member: _Member) -> _Batch:
        if self._gathering is not None and not self._gathering.fits(member.part, self._limits):
            self._depart()
        batch = self._gathering or self._open()
        batch.add(member)
        self._last = asyncio.get_running_loop().time()
        if batch.texts >= self._limits.texts:
            self._depart()
        return batch

    def _open(self) -> _Batch:
        loop = asyncio.get_running_loop()
        wait = patience(self._limits, len(self._under_way), loop.time() - self._last)
        if wait is not None:
            # Even without a wait, what is ready in this turn of the loop comes along.
            self._timer = loop.call_later(wait, self._depart) if wait else loop.call_soon(self._depart)
        self._gathering = _Batch()
        return self._gathering

    def _depart(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        batch, self._gathering, self._timer = self._gathering, None, None
        members = batch.waited_for() if batch is not None else []
        if batch is not None and members:
            batch.task = asyncio.get_running_loop().create_task(self._travel(members))
            self._under_way.add(batch.task)
            batch.task.add_done_callback(self._arrived)
        elif not self._under_way:
            self._forget()

    def _arrived(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if self._under_way:
            return
        if self._gathering is not None:
            self._depart()
        else:
            self._forget()

    async def _travel(self, members: Sequence[_Member]) -> None:
        EMBEDDING_BATCH.observe(len(members))
        try:
            answers = await self._answers(members)
        except Exception as error:
            for member in members:
                if not member.answer.done():
                    member.answer.set_exception(error)
            return
        for member, answer in zip(members, answers, strict=True):
            if not member.answer.done():
                member.answer.set_result(answer)

    async def _answers(self, members: Sequence[_Member]) -> list[Answer]:
        if len(members) == 1:
            return [await self._provider.call(members[0].call)]
        parts = [member.part for member in members]
        try:
            return split(await self._provider.call(merge([member.call for member in members], parts)), parts)
        except ProviderError as error:
            raise BatchFailed(error) from error
        except Exception as error:
            log.exception("a batch of %d embedding calls failed in an unforeseen way", len(members))
            raise BatchFailed(errors.internal(f"the batch failed: {type(error).__name__}")) from error
