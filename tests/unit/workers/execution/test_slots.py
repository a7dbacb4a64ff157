"""Slots = free + reserved + held, whatever becomes of claims; and whoever waits for a slot gets one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.errors import StoreUnavailable
from shared.domain.job import ClaimCandidate, ClaimedJob, NewJob, Status
from shared.mongo.worker_store import shares
from tests.support.fakes.store import FakeClock, FakeStore
from tests.support.jobs import eventually
from tests.unit.workers.execution.executors import SETTINGS, ended, make_executor, running, submitted
from tests.unit.workers.execution.test_attempt import EMBEDDING, Hanging, Scripted
from workers.execution.executor import Executor
from workers.execution.intake import Slots
from workers.loops import cancelled
from workers.provider_interface import Answer, Call, ProviderError


def with_slots(slots: int) -> Any:
    return msgspec.structs.replace(SETTINGS, slots=slots, sweep_interval_seconds=0.005)


class ConcurrencyLimit:
    """Holds one call of a verb until it is opened, and says when it has been reached."""

    def __init__(self, store: FakeStore, verb: str) -> None:
        self._fails = False
        self.reached, self._open = asyncio.Event(), asyncio.Event()
        self._verb = verb
        store.faults.before = self._before

    async def _before(self, verb: str) -> None:
        if verb == self._verb and not self.reached.is_set():
            self.reached.set()
            await self._open.wait()
            if self._fails:
                raise StoreUnavailable("this once")

    def open(self, *, fails: bool = False) -> None:
        self._fails = fails
        self._open.set()


async def ripe(store: FakeStore, number: int) -> None:
    await eventually(lambda: _finds(store, number))


async def _finds(store: FakeStore, number: int) -> bool:
    return len(await store.due(["embeddings"], limit=number, takeover_after=0.0)) == number


@pytest.mark.parametrize("slots", [1, 8, 200])
@pytest.mark.parametrize("fails", [True, False])
async def test_a_sweep_whose_claim_takes_nothing_frees_its_slots_for_the_notifications_that_came_meanwhile(
    store: FakeStore, slots: int, fails: bool
) -> None:
    taken = [await submitted(store) for _ in range(slots)]
    await ripe(store, slots)
    notified = [await submitted(store) for _ in range(slots)]
    executor = make_executor(store, {"openai": Scripted()}, with_slots(slots))
    gate = ConcurrencyLimit(store, "claim")
    async with running(executor, sweeping=False):
        sweep = asyncio.ensure_future(executor.sweep_once())
        await gate.reached.wait()
        executor.ready_queue.put([job.id for job in notified])
        await eventually(lambda: not executor._work.is_set())
        for job in taken:  # another worker was faster
            store.jobs[job.id].wake_at = None
        gate.open(fails=fails)
        await sweep
        for job in notified:
            assert (await ended(store, job)).status is Status.COMPLETED


async def test_the_sweep_and_the_notifications_never_take_the_same_slot(store: FakeStore) -> None:
    for _ in range(SETTINGS.slots):
        await submitted(store)
    await ripe(store, SETTINGS.slots)
    notified = [await submitted(store) for _ in range(SETTINGS.slots)]
    provider = Hanging()
    executor = make_executor(store, {"openai": provider})
    gate = ConcurrencyLimit(store, "due")
    async with running(executor, sweeping=False):
        sweep = asyncio.ensure_future(executor.sweep_once())
        await gate.reached.wait()
        executor.ready_queue.put([job.id for job in notified])
        await eventually(lambda: len(executor.leases) >= SETTINGS.slots - 1)
        gate.open()
        await sweep
        await eventually(lambda: len(provider.calls) == SETTINGS.slots)
        assert len(executor.leases) == SETTINGS.slots
        await executor.stop()


@pytest.mark.parametrize("slots", [1, 4, 50])
async def test_a_full_inbox_leaves_the_sweep_its_share_of_what_is_taken(store: FakeStore, slots: int) -> None:
    unrung = [await submitted(store) for _ in range(10)]
    executor = make_executor(store, {"openai": Scripted()}, with_slots(slots))
    async with running(executor), publishing(store, executor, slots):
        for job in unrung:
            assert (await ended(store, job)).status is Status.COMPLETED


async def test_a_full_inbox_keeps_no_job_of_a_dead_worker_from_being_taken_over(store: FakeStore) -> None:
    abandoned = await submitted(store)
    await store.claim([abandoned.id], lease=uuid4(), worker="gone", suspects=False)
    executor = make_executor(store, {"openai": Scripted()})
    async with running(executor), publishing(store, executor, SETTINGS.slots):
        assert (await ended(store, abandoned)).status is Status.COMPLETED


@contextlib.asynccontextmanager
async def publishing(store: FakeStore, executor: Executor, slots: int) -> AsyncIterator[None]:
    """Keep more jobs notified than the worker can take, all the while."""

    async def publish() -> None:
        while True:
            while len(executor.ready_queue) < 2 * slots:
                executor.ready_queue.put([(await submitted(store)).id])
            await asyncio.sleep(0)

    task = asyncio.ensure_future(publish())
    try:
        await eventually(lambda: executor.full)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@given(
    total=st.integers(1, 300),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 300), st.integers(0, 300)), max_size=40),
)
def test_nobody_gets_more_slots_than_are_free_and_the_sweep_waits_for_nine_jobs_at_most(
    total: int, steps: list[tuple[bool, int, int]]
) -> None:
    leases: list[None] = []
    slots = Slots(total, leases)
    for sweeps, notified, ends in steps:
        slots.sweeping = sweeps
        room = slots.for_sweep(notified) if sweeps else slots.for_notifications
        assert 0 <= room <= slots.free
        slots.reserve(room, notified=not sweeps)
        leases.extend([None] * room)
        slots.settle(room, swept=room if sweeps else 0)
        del leases[: min(ends, len(leases))]
    leases.clear()
    slots.sweeping = True
    notified_before = 0
    while not slots.for_sweep(1000):
        slots.reserve(1, notified=True)
        slots.settle(1, swept=0)
        notified_before += 1
    assert notified_before <= 9


# All together, at random


class HostileStore(FakeStore):
    """A store whose claims and looks end in any way that is drawn, after any number of turns of the loop."""

    def __init__(self, ends: list[tuple[str, int]]) -> None:
        super().__init__(SETTINGS, clock=FakeClock(running=True))
        self.ends = ends
        self.claiming = 0
        self.check: Callable[[], None] = lambda: None

    async def claim(self, ids: Sequence[UUID], **options: Any) -> list[ClaimedJob]:
        self.claiming += len(ids)
        try:
            left_by_others = await self._fate(ids)
            return await super().claim(left_by_others, **options)
        finally:
            self.claiming -= len(ids)

    async def due(self, modalities: Sequence[str], **options: Any) -> list[ClaimCandidate]:
        await self._fate(())
        return await super().due(modalities, **options)

    async def _fate(self, ids: Sequence[UUID]) -> Sequence[UUID]:
        end, turns = self.ends.pop() if self.ends else ("well", 0)
        for _ in range(turns):
            await asyncio.sleep(0)
            self.check()
        match end:
            case "down":
                raise StoreUnavailable("drawn")
            case "unforeseen":
                raise RuntimeError("drawn")
            case "others":
                return ids[: len(ids) // 2]
            case _:
                return ids


class Slow(Scripted):
    """Answers some turns of the loop later; every third call fails in a way that may pass."""

    async def call(self, call: Call) -> Answer:
        self.calls.append(call)
        for _ in range(len(self.calls) % 7):
            await asyncio.sleep(0)
        if len(self.calls) % 3 == 0:
            raise ProviderError("no", status_code=503, error_type="provider_server_error", retryable=True)
        return Answer(EMBEDDING, "application/json", "")


class Scene:
    """A fleet whose loops are cancelled, and begun anew when they end, beside what happens to its jobs."""

    def __init__(self, slots: int, ends: list[tuple[str, int]]) -> None:
        self.store = HostileStore(ends)
        self.store.check = self.check
        policy = msgspec.structs.replace(with_slots(slots), max_failures=1000)
        self.executor = make_executor(self.store, {"openai": Slow()}, policy)
        self.jobs: list[NewJob] = []
        loops = self.executor.claim_notified, self.executor.sweep
        self.loops = {loop: asyncio.ensure_future(self._again(loop)) for loop in loops}

    async def _again(self, loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            with contextlib.suppress(RuntimeError):
                await loop()

    def check(self) -> None:
        slots = self.executor._slots
        assert slots.free >= 0
        assert slots.reserved >= self.store.claiming, "a claim is under way for which no slot is reserved"
        assert slots.free + slots.reserved + len(self.executor.leases) == slots.total

    async def step(self, name: str, number: int) -> None:
        match name:
            case "notify" | "submit":
                jobs = [await submitted(self.store) for _ in range(number)]
                self.jobs += jobs
                if name == "notify":
                    self.executor.ready_queue.put([job.id for job in jobs])
            case "wait":
                for _ in range(number):
                    await asyncio.sleep(0)
            case "cancel":
                loop = list(self.loops)[number % 2]
                await cancelled([self.loops[loop]])
                self.loops[loop] = asyncio.ensure_future(self._again(loop))
            case "lose":
                await self._lose(number)
        self.check()

    async def _lose(self, number: int) -> None:
        """Another worker takes over some jobs that are held here, and ends them."""
        for held in list(self.executor.leases.held_jobs())[:number]:
            stored = self.store.jobs[held.job.id]
            stored.status, stored.lease, stored.wake_at = Status.COMPLETED, uuid4(), None
        await self.executor.leases.renew()

    async def end(self) -> None:
        self.store.ends.clear()
        try:
            await eventually(lambda: all(self.store.jobs[job.id].status.terminal for job in self.jobs))
            await eventually(lambda: self.executor._slots.free == self.executor._slots.total)
            assert self.executor._slots.reserved == 0
        finally:
            await cancelled(list(self.loops.values()))
            await self.executor.stop()


@given(
    slots=st.sampled_from([1, 2, 7, 30]),
    ends=st.lists(st.tuples(st.sampled_from(["well", "down", "others", "unforeseen"]), st.integers(0, 9)), max_size=30),
    steps=st.lists(
        st.tuples(st.sampled_from(["notify", "submit", "wait", "cancel", "lose"]), st.integers(0, 20)), max_size=25
    ),
)
@settings(max_examples=60)
def test_whatever_becomes_of_claims_slots_are_counted_right_and_every_job_ends(
    slots: int, ends: list[tuple[str, int]], steps: list[tuple[str, int]]
) -> None:
    async def play() -> None:
        scene = Scene(slots, ends)
        for name, number in steps:
            await scene.step(name, number)
        await scene.end()

    asyncio.run(play())


@given(lines=st.lists(st.integers(0, 400), min_size=1, max_size=12), limit=st.integers(1, 256))
def test_a_look_gives_each_line_its_share_and_at_least_half_of_the_room_when_any_has_more(
    lines: list[int], limit: int
) -> None:
    few = -(-limit // len(lines))
    wanted = shares(limit, [min(few, line) for line in lines], few)
    given_out = [min(line, want) for line, want in zip(lines, wanted, strict=True)]
    assert sum(wanted) <= limit
    assert all(given >= min(line, limit // len(lines)) for line, given in zip(lines, given_out, strict=True))
    if any(line > want for line, want in zip(lines, wanted, strict=True)):
        assert 2 * sum(given_out) >= limit
