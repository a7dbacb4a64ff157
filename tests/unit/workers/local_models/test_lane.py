"""The line in front of a model: order, bounds, time-outs and the end."""

import asyncio
import threading

import pytest

from tests.unit.workers.local_models.calls import json_call
from workers.local_models import provider as lane_module
from workers.local_models.provider import ModelQueue
from workers.local_models.requests.task import Task
from workers.provider_interface import Answer, Call, ProviderError


class HandEngine:
    """An engine that answers when the test says so. `deaf`: it does not notice that nobody waits."""

    def __init__(self, *, deaf: bool = False) -> None:
        self.deaf = deaf
        self.go = threading.Semaphore(0)
        self.started = threading.Semaphore(0)
        self.answered: list[str] = []
        self.at_once = 0
        self.most_at_once = 0
        self.closed = 0
        self._killed = threading.Event()

    def answer(self, task: Task) -> Answer:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.started.release()
        try:
            while not self.go.acquire(timeout=0.01):
                if self._killed.is_set():
                    raise ProviderError("killed", status_code=500, error_type="provider_server_error")
                if not self.deaf:
                    task.stop_if_abandoned()
            self.answered.append(task.call.model)
            return Answer(task.call.model.encode(), "text/plain")
        finally:
            self.at_once -= 1

    def close(self) -> None:
        self.closed += 1

    def kill(self) -> None:
        self._killed.set()

    async def is_at_work(self) -> None:
        """Returns when a call is running."""
        await asyncio.to_thread(self.started.acquire)


def numbered(number: int, *, timeout: float = 60) -> Call:
    return json_call("embedding", str(number), {}, timeout=timeout)


async def failure_of(model_queue: ModelQueue, call: Call) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await model_queue.run(call)
    return caught.value


async def test_calls_are_answered_one_at_a_time_in_their_order() -> None:
    engine = HandEngine()
    model_queue = ModelQueue("model", engine, capacity=10)
    calls = [asyncio.create_task(model_queue.run(numbered(number))) for number in range(10)]
    await engine.is_at_work()
    for _ in calls:
        engine.go.release()
    assert [answer.body for answer in await asyncio.gather(*calls)] == [str(number).encode() for number in range(10)]
    assert engine.answered == [str(number) for number in range(10)]
    assert engine.most_at_once == 1
    await model_queue.close()


async def test_a_call_beyond_the_capacity_is_sent_away_with_a_time() -> None:
    engine = HandEngine()
    model_queue = ModelQueue("model", engine, capacity=2)
    waiting = [asyncio.create_task(model_queue.run(numbered(number))) for number in range(2)]
    await engine.is_at_work()
    error = await failure_of(model_queue, numbered(3))
    assert (error.status_code, error.retryable, error.error_type) == (503, True, "provider_overloaded")
    assert error.retry_after is not None
    assert 1 <= error.retry_after <= 10
    engine.go.release()
    engine.go.release()
    await asyncio.gather(*waiting)
    engine.go.release()
    assert (await model_queue.run(numbered(4))).body == b"4"
    await model_queue.close()


async def test_a_call_that_could_not_be_done_in_time_is_sent_away_at_once() -> None:
    engine = HandEngine()
    model_queue = ModelQueue("model", engine, capacity=1000)
    waiting = [asyncio.create_task(model_queue.run(numbered(number, timeout=600))) for number in range(100)]
    await engine.is_at_work()
    error = await failure_of(model_queue, numbered(100, timeout=10))  # about 50 s of work stand before it
    assert (error.status_code, error.retry_after) == (503, 10.0)
    patient = asyncio.create_task(model_queue.run(numbered(101, timeout=600)))
    for _ in range(101):
        engine.go.release()
    await asyncio.gather(*waiting, patient)
    await model_queue.close()


async def test_a_call_that_takes_too_long_is_given_up_and_the_next_one_runs() -> None:
    engine = HandEngine()
    model_queue = ModelQueue("model", engine, capacity=2)
    error = await failure_of(model_queue, numbered(1, timeout=0.05))
    assert (error.status_code, error.retryable, error.error_type) == (504, True, "provider_timeout")
    await engine.is_at_work()
    second = asyncio.create_task(model_queue.run(numbered(2)))
    await engine.is_at_work()  # so the first one has stopped
    engine.go.release()
    assert (await second).body == b"2"
    assert engine.answered == ["2"]
    await model_queue.close()


async def test_waiting_counts_as_time_and_a_call_that_nobody_waits_for_never_runs() -> None:
    engine = HandEngine()
    model_queue = ModelQueue("model", engine, capacity=3)
    first = asyncio.create_task(model_queue.run(numbered(1)))
    await engine.is_at_work()
    assert (await failure_of(model_queue, numbered(2, timeout=1.1))).status_code == 504
    cancelled = asyncio.create_task(model_queue.run(numbered(3)))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    engine.go.release()
    await first
    engine.go.release()
    await model_queue.run(numbered(4))
    assert engine.answered == ["1", "4"]
    await model_queue.close()


async def test_closing_stops_what_runs_and_what_waits_and_takes_nothing_more() -> None:
    engine = HandEngine()
    model_queue = ModelQueue("model", engine, capacity=10)
    calls = [asyncio.create_task(failure_of(model_queue, numbered(number))) for number in range(3)]
    await engine.is_at_work()
    await asyncio.gather(model_queue.close(), model_queue.close())
    for error in await asyncio.gather(*calls):
        assert (error.status_code, error.retryable, error.error_type) == (503, True, "bifrost_dropped")
    assert (await failure_of(model_queue, numbered(9))).error_type == "bifrost_dropped"
    assert engine.answered == []
    assert engine.closed == 1


async def test_a_lane_that_was_never_used_closes() -> None:
    engine = HandEngine()
    await ModelQueue("model", engine, capacity=1).close()
    assert engine.closed == 1


async def test_an_engine_that_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "CLOSE_SECONDS", 0.05)
    engine = HandEngine(deaf=True)
    model_queue = ModelQueue("model", engine, capacity=1)
    call = asyncio.create_task(failure_of(model_queue, numbered(1)))
    await engine.is_at_work()
    await model_queue.close()
    assert (await call).message == "killed"
