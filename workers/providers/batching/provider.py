"""Embedding calls of one moment become one call, and each gets its own answer.

A batch that fails for its texts is made again in halves, so that a text that is refused fails its own job alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from shared.telemetry.metrics import EMBEDDING_BATCH
from workers import error_classification
from workers.provider_interface import CALLS, Answer, Call, Calls, Provider, ProviderError
from workers.providers.batching.embeddings import Key, Limits, Part, batch_wait, concerns_each, merge, part_of, split

log = logging.getLogger(__name__)

_LEAST_SECONDS = 0.001


class Divisible(Exception):
    """The call for all failed in a way that may concern only some of its texts; its argument is the error."""


class BatchingProvider:
    """Wraps a provider. Calls that may not or cannot travel with others go through untouched."""

    def __init__(self, inner: Provider, limits: Limits) -> None:
        self._inner = inner
        self._limits = limits
        self._groups: dict[Key, _Group] = {}

    async def call(self, call: Call) -> Answer:
        """Makes the call within `call.timeout` seconds, tries in smaller batches included. Raises ProviderError."""
        part = part_of(call, self._limits)
        if part is None:
            return await self._inner.call(call)
        await CALLS.get(Calls()).put_off()  # first: the group may end during this write
        return await self._group(part.key).join(call, part)

    async def close(self) -> None:
        await self._inner.close()

    def _group(self, key: Key) -> _Group:
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(self._inner, self._limits, lambda: self._groups.pop(key, None))
        return group


@dataclass(slots=True, eq=False)
class _Member:
    call: Call
    part: Part
    answer: asyncio.Future[Answer]
    began: float
    calls: Calls


@dataclass(slots=True, eq=False)
class _Batch:
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
        loop = asyncio.get_running_loop()
        member = _Member(call, part, loop.create_future(), loop.time(), CALLS.get(Calls()))
        batch = self._add(member)
        try:
            return await member.answer
        finally:
            if batch.task is not None and not batch.waited_for():
                batch.task.cancel()  # does nothing to a batch that has ended

    def _add(self, member: _Member) -> _Batch:
        if self._gathering is not None and not self._gathering.fits(member.part, self._limits):
            self._flush()
        batch = self._gathering or self._open()
        batch.add(member)
        self._last = asyncio.get_running_loop().time()
        if batch.texts >= self._limits.texts:
            self._flush()
        return batch

    def _open(self) -> _Batch:
        loop = asyncio.get_running_loop()
        wait = batch_wait(self._limits, len(self._under_way), loop.time() - self._last)
        if wait is not None:
            # Even without a wait, what is ready in this turn of the loop comes along.
            self._timer = loop.call_later(wait, self._flush) if wait else loop.call_soon(self._flush)
        self._gathering = _Batch()
        return self._gathering

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        batch, self._gathering, self._timer = self._gathering, None, None
        members = batch.waited_for() if batch is not None else []
        if batch is not None and members:
            batch.task = asyncio.create_task(self._send(members), name="embeddings")
            self._under_way.add(batch.task)
            batch.task.add_done_callback(self._done)
        elif not self._under_way:
            self._forget()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not self._under_way:
            self._flush()

    async def _send(self, members: list[_Member]) -> None:
        """Call for all; where only some texts may be to blame, half by half, one call after the other."""
        EMBEDDING_BATCH.observe(len(members))
        loop = asyncio.get_running_loop()
        ends = min(member.began + member.call.timeout for member in members)
        groups, again = [members], False
        while groups:
            some = [member for member in groups.pop() if not member.answer.done()]
            if not some:
                continue
            try:
                _deliver(some, await self._answers(some, max(_LEAST_SECONDS, ends - loop.time()) if again else None))
            except Divisible as failed:
                again, middle = True, len(some) // 2
                if loop.time() < ends:
                    groups += [some[middle:], some[:middle]]
                else:
                    _deliver(some, failed.args * len(some))
            except Exception as error:
                _deliver(some, [error] * len(some))

    async def _answers(self, members: Sequence[_Member], left: float | None) -> list[Answer]:
        """Make one call; `left` is its time when it is not the first. Raises Divisible, or what concerns each."""
        calls, parts = [member.call for member in members], [member.part for member in members]
        if left is not None:
            calls = [msgspec.structs.replace(call, timeout=left) for call in calls]
        begun = Calls([member.calls for member in members])
        CALLS.set(begun)
        await begun.begin()
        if len(calls) == 1:
            return [await self._provider.call(calls[0])]
        try:
            answer = await self._provider.call(merge(calls, parts))
        except ProviderError as error:
            if concerns_each(error):
                raise
            raise Divisible(error) from error
        except Exception as error:
            log.exception("a batch of %d embedding calls failed in an unforeseen way", len(members))
            raise Divisible(error_classification.internal(f"the batch failed: {type(error).__name__}")) from error
        try:
            return split(answer, parts)
        except ProviderError as error:
            raise Divisible(error) from error


def _deliver(members: Sequence[_Member], outcomes: Sequence[Answer | Exception]) -> None:
    for member, outcome in zip(members, outcomes, strict=True):
        if member.answer.done():
            continue
        if isinstance(outcome, Exception):
            member.answer.set_exception(outcome)
        else:
            member.answer.set_result(outcome)
