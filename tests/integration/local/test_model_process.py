"""A model's process: what it is given, what its death costs, and that it never outlives its worker."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.domain.content import Content
from tests.unit.workers.local_models.calls import call
from workers.local_models import model_process
from workers.local_models.model_process import ModelProcess
from workers.local_models.provider import ModelQueue
from workers.local_models.requests.task import Task
from workers.provider_interface import Answer, Call, ProviderError

ROOT = Path(__file__).parents[3]
STUB = "tests.unit.workers.local_models.stub_model"


def order(what: str, data: bytes = b"", *, timeout: float = 60) -> Call:
    """A call that tells the stub model what to do."""
    return call("embedding", what, Content("json", data), timeout=timeout)


def answer_of(process: ModelProcess, what: str, data: bytes = b"") -> Answer:
    return process.answer(Task(order(what, data)))


def failure_of(process: ModelProcess, what: str, data: bytes = b"") -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        answer_of(process, what, data)
    return caught.value


def eventually(condition: Callable[[], bool], within: float = 20) -> None:
    """Waits until the condition holds, or fails."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it never came to pass"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture
def process() -> Iterator[ModelProcess]:
    process = ModelProcess("stub", STUB, threads=1)
    yield process
    process.close()


def test_a_process_starts_with_the_first_call_and_stays(process: ModelProcess) -> None:
    before = process.pid
    assert answer_of(process, "echo", b"one").body == b"one"
    first = process.pid
    assert answer_of(process, "echo", b"two").body == b"two"
    assert process.pid == first
    process.close()
    process.close()
    assert (before, process.pid) == (None, None)
    assert first is not None
    assert is_gone(first)


def test_a_large_body_goes_there_and_back(process: ModelProcess) -> None:
    body = os.urandom(20_000_000)
    assert answer_of(process, "echo", body).body == body


def test_a_model_that_prints_does_not_break_the_line(process: ModelProcess) -> None:
    assert answer_of(process, "print").body == b"printed"
    assert answer_of(process, "echo", b"x").body == b"x"


def test_the_process_is_offline_and_sees_no_key(process: ModelProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("COATCHECK_MONGODB_URI", "mongodb://user:secret@db")
    names = answer_of(process, "environment").body.decode().split()
    assert "HF_HUB_OFFLINE" in names
    assert not [name for name in names if "KEY" in name or "COATCHECK" in name]
    assert "HF_HUB_OFFLINE" not in os.environ


def test_a_refusal_comes_through_and_the_process_stays(process: ModelProcess) -> None:
    error = failure_of(process, "refuse")
    assert (error.message, error.status_code, error.retryable) == ("field 'x': no", 400, False)
    assert process.pid is not None


def test_an_unforeseen_error_says_its_type_and_place_but_not_its_text(
    process: ModelProcess, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        error = failure_of(process, "break", b"the client's secret")
    assert (error.message, error.status_code, error.retryable) == ("local model stub failed: KeyError", 500, False)
    assert "stub_model.py" in caplog.text
    assert "secret" not in caplog.text
    assert answer_of(process, "echo", b"still here").body == b"still here"


def test_a_crash_costs_one_call(process: ModelProcess) -> None:
    answer_of(process, "echo")
    crashed = process.pid
    error = failure_of(process, "crash")
    assert (error.status_code, error.retryable, error.error_type) == (500, True, "provider_server_error")
    assert f"status {-signal.SIGABRT}" in error.message
    assert answer_of(process, "echo", b"again").body == b"again"
    assert process.pid not in (None, crashed)


def test_a_process_that_was_killed_while_idle_is_started_again(process: ModelProcess) -> None:
    answer_of(process, "echo")
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    assert failure_of(process, "echo").retryable
    assert answer_of(process, "echo", b"again").body == b"again"


def test_a_model_that_cannot_be_loaded_may_be_loaded_elsewhere(caplog: pytest.LogCaptureFixture) -> None:
    process = ModelProcess("broken", "tests.unit.workers.local_models.broken_model", threads=1)
    error = failure_of(process, "echo")
    assert error.message == "local model broken could not be loaded: MemoryError"
    assert (error.status_code, error.retryable) == (500, True)
    assert "secret" not in caplog.text
    assert process.pid is None


def test_signals_to_the_whole_group_do_not_end_a_model(process: ModelProcess) -> None:
    answer_of(process, "echo")
    assert process.pid is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(process.pid, number)
    assert answer_of(process, "echo", b"unmoved").body == b"unmoved"


async def test_a_model_is_told_when_nobody_waits_any_more(process: ModelProcess, tmp_path: Path) -> None:
    told = tmp_path / "told"
    lane = ModelQueue("stub", process, capacity=10)
    await lane.run(order("echo"))
    pid = process.pid
    with pytest.raises(ProviderError) as caught:
        await lane.run(order("wait until stopped", str(told).encode(), timeout=0.1))
    assert caught.value.status_code == 504
    assert (await lane.run(order("echo", b"next"))).body == b"next"
    assert told.exists()
    assert process.pid == pid
    await lane.close()


async def test_a_model_that_does_not_stop_is_killed_and_the_next_call_answered(
    process: ModelProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_process, "STOP_SECONDS", 0.1)
    lane = ModelQueue("stub", process, capacity=10)
    await lane.run(order("echo"))
    hung = process.pid
    with pytest.raises(ProviderError):
        await lane.run(order("hang", timeout=0.1))
    assert (await lane.run(order("echo", b"next"))).body == b"next"
    assert hung is not None
    assert is_gone(hung)
    await lane.close()


async def test_closing_ends_a_hanging_model(process: ModelProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_process, "STOP_SECONDS", 0.1)
    lane = ModelQueue("stub", process, capacity=10)
    await lane.run(order("echo"))
    hung = process.pid
    running = asyncio.create_task(lane.run(order("hang")))
    await asyncio.sleep(0)
    await lane.close()
    with pytest.raises(ProviderError):
        await running
    assert hung is not None
    assert is_gone(hung)


def test_kill_ends_a_call_from_another_thread(process: ModelProcess) -> None:
    answer_of(process, "echo")
    killer = threading.Timer(0.2, process.kill)
    killer.start()
    assert failure_of(process, "hang").status_code == 500
    killer.join()
    assert failure_of(process, "echo").error_type == "bifrost_dropped"


WORKER = f"""
import sys, time
from tests.integration.local.test_model_process import answer_of
from workers.local_models.model_process import ModelProcess
process = ModelProcess("stub", "{STUB}", threads=1)
answer_of(process, "echo")
print(process.pid, flush=True)
if sys.argv[1] == "hang":
    answer_of(process, "hang")
time.sleep(3600)
"""


@pytest.mark.parametrize("state", ["idle", "hang"])
def test_a_model_ends_with_its_worker_even_when_that_is_killed(state: str) -> None:
    worker = subprocess.Popen([sys.executable, "-c", WORKER, state], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    model = int(worker.stdout.readline())
    assert not is_gone(model)
    worker.kill()
    worker.wait()
    worker.stdout.close()
    eventually(lambda: is_gone(model))
