"""The development stack as a process: real mongod and broker, stand-ins for the components."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest

from coatcheck.dev.parent_death_watch import is_alive
from coatcheck.dev.ports import free_ports
from coatcheck.dev.stack import INSIST_SECONDS

PROGRAM = """
import asyncio, sys
from pathlib import Path
from typing import Any
from coatcheck.dev.stack import DevOptions, run
data, port, admin_port, uri, kafka = sys.argv[1:]
options = DevOptions(Path(data), int(port), int(admin_port), uri, kafka)
sys.exit(asyncio.run(run(options, [sys.executable, "-m", "tests.support.fakes.component"])))
"""


def waits(process: subprocess.Popen[str], seconds: float) -> bool:
    """Whether the process is still there after this time."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


class Stack:
    """One start of the stack. `lines` is what it printed so far, on both streams."""

    def __init__(self, directory: Path, *, fail: str = "", uri: str = "", kafka: str = "", ports: list[int]) -> None:
        self.journal = directory / "journal"
        self.port, self.admin_port = ports
        environ = {**os.environ, "JOURNAL": str(self.journal), **({"FAIL": fail} if fail else {})}
        self._data = directory / "data"
        arguments = [str(self._data), str(self.port), str(self.admin_port), uri, kafka]
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environ,
        )
        self.lines: list[str] = []
        self._limit = threading.Timer(120, self.process.kill)  # so that a hang becomes a failure
        self._limit.daemon = True
        self._limit.start()

    def until(self, words: str) -> str:
        """Read on until a line holds `words`; that line."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if words in line:
                return line
        said = "\n".join(self.lines) or "it said nothing"
        raise AssertionError(f"ended with {self.process.wait(60)} without '{words}': {said}")

    def end(self) -> int:
        """Read to the end; the exit code."""
        assert self.process.stdout is not None
        self.lines += self.process.stdout.read().splitlines()
        self._limit.cancel()
        return self.process.wait(60)

    def left_behind(self) -> bool:
        """Whether a child still runs: each holds the lock of the data directory as long as it lives."""
        with (self._data / "lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def progress(self) -> list[str]:
        """The first words of the lines so far."""
        return [line.split("  ")[0] for line in self.lines if line]

    def noted(self) -> list[tuple[str, str, int]]:
        """What the components did: name, start or stop, process id."""
        entries = [line.split() for line in self.journal.read_text().splitlines()]
        return [(name, what, int(pid)) for name, what, pid in entries]


@pytest.fixture
def stacks(tmp_path: Path) -> Iterator[list[Stack]]:
    started: list[Stack] = []
    yield started
    for stack in started:
        if stack.process.poll() is None:
            stack.process.terminate()
        stack.end()
        if stack.process.stdout is not None:
            stack.process.stdout.close()


@pytest.fixture
def start(tmp_path: Path, stacks: list[Stack]) -> Callable[..., Stack]:
    ports = free_ports(2)

    def start_one(**options: Any) -> Stack:
        stacks.append(Stack(tmp_path, ports=ports, **options))
        return stacks[-1]

    return start_one


def test_all_starts_in_order_is_proved_and_stops_in_order(start: Callable[..., Stack]) -> None:
    stack = start()
    ready = stack.until("Ready")
    assert f"http://127.0.0.1:{stack.port}" in ready
    names = stack.progress()
    assert set(names[:2]) == {"mongod", "broker"}
    assert names[2].strip() == "init"
    assert set(names[3:6]) == {"edge", "worker", "reaper"}
    assert names[6] == "test job"
    example = stack.until("curl")
    body = json.loads(re.search(r"-d '(.*)'", example)[1])  # type: ignore[index]
    assert body["model"] == "local/minilm"
    caution = stack.until("development")
    assert "SSPL" in caution
    assert "in-memory broker" in caution
    stack.process.send_signal(signal.SIGINT)
    assert stack.end() == 0
    stopped = [line.split()[0] for line in stack.lines if "stopped" in line]
    assert stopped == ["edge", "worker", "reaper", "broker", "mongod"]
    assert [name for name, what, _ in stack.noted() if what == "stop"] == ["edge", "worker", "reaper"]


def test_sigterm_while_it_starts_leaves_nothing_behind(start: Callable[..., Stack]) -> None:
    stack = start()
    stack.until("broker")
    stack.process.terminate()
    assert stack.end() == 0
    assert "Ready" not in "\n".join(stack.lines)
    assert not stack.left_behind()


def test_a_component_that_cannot_start_is_named_with_its_last_words(start: Callable[..., Stack]) -> None:
    stack = start(fail="worker:start")
    assert stack.end() == 1
    text = "\n".join(stack.lines)
    assert "worker ended with exit code 3; last lines of" in text
    assert "no such provider" in text
    assert "Ready" not in text
    assert [line.split()[0] for line in stack.lines if "stopped  " in line][-1] == "mongod"


def test_a_failing_init_ends_the_start(start: Callable[..., Stack]) -> None:
    stack = start(fail="init:start")
    assert stack.end() == 1
    assert any("init ended with exit code 3" in line for line in stack.lines)
    assert {name for name, _, _ in stack.noted()} == {"init"}


def test_a_component_that_dies_later_stops_the_rest(start: Callable[..., Stack]) -> None:
    stack = start()
    stack.until("Ready")
    (reaper,) = [pid for name, what, pid in stack.noted() if (name, what) == ("reaper", "start")]
    os.kill(reaper, signal.SIGKILL)
    assert stack.end() == 1
    assert not stack.left_behind()
    assert any(line.startswith("reaper was killed by SIGKILL") for line in stack.lines)
    stopped = [line.split()[0] for line in stack.lines if "stopped  " in line]
    assert stopped == ["edge", "worker", "broker", "mongod"]


def test_a_test_job_that_fails_is_not_ready(start: Callable[..., Stack]) -> None:
    stack = start(fail="edge:job")
    assert stack.end() == 1
    assert any('the test job failed: "no model"' in line for line in stack.lines)
    assert "Ready" not in "\n".join(stack.lines)


def test_a_second_start_beside_the_first_says_where_the_first_is(start: Callable[..., Stack]) -> None:
    first = start()
    first.until("Ready")
    second = start()
    assert second.end() == 1
    (line,) = second.lines
    assert f"http://127.0.0.1:{first.port}, process {first.process.pid}" in line
    assert "DATA=" in line
    assert first.process.poll() is None


def test_a_second_start_after_the_first_finds_its_data(start: Callable[..., Stack], tmp_path: Path) -> None:
    port_note = tmp_path / "data" / "mongod" / "port"
    first = start()
    first.until("Ready")
    with pymongo.MongoClient[dict[str, int]](f"mongodb://127.0.0.1:{port_note.read_text()}") as client:
        client.test.marks.insert_one({"_id": 7})
    first.process.terminate()
    assert first.end() == 0
    second = start()
    second.until("Ready")
    with pymongo.MongoClient[dict[str, int]](f"mongodb://127.0.0.1:{port_note.read_text()}") as client:
        assert client.test.marks.find_one() == {"_id": 7}


def test_a_start_after_kill_9_waits_for_the_orphans_and_goes_on(start: Callable[..., Stack]) -> None:
    first = start()
    first.until("Ready")
    children = [pid for _, _, pid in first.noted()]
    first.process.kill()
    first.process.wait()  # as a shell does: until then a process exists
    second = start()
    second.until("Ready")
    assert not any(is_alive(pid) for pid in children)


def test_a_run_that_was_killed_and_that_nobody_has_collected_is_over(start: Callable[..., Stack]) -> None:
    first = start()
    first.until("Ready")
    (reaper,) = [pid for name, what, pid in first.noted() if (name, what) == ("reaper", "start")]
    os.kill(reaper, signal.SIGSTOP)
    first.process.kill()
    os.waitid(os.P_PID, first.process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and is there as before
    second = start()
    try:
        second.until("waiting for the processes of a killed run")
    finally:
        os.kill(reaper, signal.SIGCONT)
    second.until("Ready")


def test_a_taken_port_is_said_before_anything_starts(
    start: Callable[..., Stack], stacks: list[Stack], tmp_path: Path
) -> None:
    first = start()
    first.until("Ready")
    other = Stack(tmp_path / "other", ports=[first.port, first.admin_port])
    stacks.append(other)
    assert other.end() == 1
    (line,) = other.lines
    assert f"port {first.port} on 127.0.0.1 is taken" in line
    assert f"make run PORT={first.port + 1}" in line


def test_servers_of_ones_own_are_used_and_the_caution_is_gone(start: Callable[..., Stack]) -> None:
    stack = start(uri="mongodb://db.example/?replicaSet=rs0", kafka="kafka.example:9092")
    stack.until("Ready")
    assert not {"mongod", "broker"} & set(stack.progress())
    stack.process.terminate()
    assert stack.end() == 0
    assert "development" not in "\n".join(stack.lines)


def test_a_second_signal_kills_what_does_not_stop(start: Callable[..., Stack]) -> None:
    stack = start()
    stack.until("Ready")
    (edge,) = [pid for name, what, pid in stack.noted() if (name, what) == ("edge", "start")]
    os.kill(edge, signal.SIGSTOP)
    stack.process.send_signal(signal.SIGINT)
    stack.process.send_signal(signal.SIGTERM)  # one request, sent twice
    began = time.monotonic()
    assert waits(stack.process, 2 * INSIST_SECONDS)
    stack.process.send_signal(signal.SIGTERM)
    assert stack.end() == 0
    assert time.monotonic() - began < 20
    assert not stack.left_behind()


def test_the_environments_proxy_is_not_asked_for_our_own_children(
    start: Callable[..., Stack], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    stack = start()
    stack.until("Ready")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    assert opener.open(f"http://127.0.0.1:{stack.port}/readyz", timeout=5).status == 200
