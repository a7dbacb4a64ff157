"""Runs a real component and lets a test look at its tasks and threads, and raise an error in any of them.

`python -m tests.support.fakes.throwing FOLDER edge --port 8080` is `coatcheck edge --port 8080`, with a socket
FOLDER/PID in each of its processes. `Windows` is the test's side of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

CONTROL = "test-control"
_loops: list[asyncio.AbstractEventLoop] = []


class Thrown(Exception):
    """What nobody foresaw."""


@dataclass(frozen=True, order=True)
class Running:
    """A task or thread of a process; `code` is the file of a task's coroutine."""

    pid: int
    kind: str
    name: str
    code: str = ""


class Windows:
    """What runs in the processes of a component."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def look(self) -> set[Running]:
        """All tasks and threads of all processes there are."""
        return {
            Running(int(window.name), *each)
            for window in self._folder.iterdir()
            for each in self._ask(window, "look") or ()
        }

    def throw(self, into: Running) -> bool:
        """Raise an error in it. False when it is not there, or does not wait for anything just now."""
        return bool(self._ask(self._folder / str(into.pid), "throw", into.kind, into.name))

    def _ask(self, window: Path, *question: str) -> Any:
        """The answer; None from a process that is gone."""
        with contextlib.suppress(OSError, ValueError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(window))
            with connection.makefile("rw") as lines:
                lines.write(json.dumps(question) + "\n")
                lines.flush()
                return json.loads(lines.readline())
        return None


def _look() -> list[tuple[str, str, str]]:
    threads = [("thread", thread.name, "") for thread in threading.enumerate() if thread.name != CONTROL]
    return threads + [("task", task.get_name(), _code(task)) for task in _tasks()]


def _tasks() -> list[asyncio.Task[Any]]:
    return [task for loop in list(_loops) if not loop.is_closed() for task in _all_tasks(loop)]


def _all_tasks(loop: asyncio.AbstractEventLoop) -> set[asyncio.Task[Any]]:
    while True:
        with contextlib.suppress(RuntimeError):  # its own thread makes tasks meanwhile
            return asyncio.all_tasks(loop)


def _code(task: asyncio.Task[Any]) -> str:
    code = getattr(task.get_coro(), "cr_code", None)
    return str(code.co_filename) if code else ""


def _throw(kind: str, name: str) -> bool:
    if kind == "thread":
        threads = [thread.ident for thread in threading.enumerate() if thread.name == name]
        thrown = [_throw_into_thread(ident) for ident in threads]
    else:
        tasks = [task for task in _tasks() if task.get_name() == name]
        thrown = [_on_loop(task.get_loop(), partial(_throw_into_task, task)) for task in tasks]
    return any(thrown)


def _throw_into_thread(ident: int | None) -> bool:
    return bool(ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident or 0), ctypes.py_object(Thrown)) == 1)


def _throw_into_task(task: asyncio.Task[Any]) -> bool:
    """Fail what the task waits for."""
    waits_for = getattr(task, "_fut_waiter", None)
    if waits_for is None or waits_for.done():
        return False
    if isinstance(waits_for, asyncio.Task):
        return _throw_into_task(waits_for)
    waits_for.set_exception(Thrown(f"thrown into {task.get_name()} by a test"))
    return True


def _on_loop(loop: asyncio.AbstractEventLoop, act: Callable[[], bool]) -> bool:
    answer: list[bool] = []
    acted = threading.Event()

    def call() -> None:
        answer.append(act())
        acted.set()

    loop.call_soon_threadsafe(call)
    return acted.wait(5) and answer[0]


def _open_window(folder: Path) -> None:
    _loops.clear()
    path = folder / str(os.getpid())
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(8)
    threading.Thread(target=_answer, args=(listener,), name=CONTROL, daemon=True).start()


def _answer(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        with contextlib.suppress(OSError, ValueError), connection, connection.makefile("rw") as lines:
            question, *arguments = json.loads(lines.readline())
            answer: Any = _throw(*arguments) if question == "throw" else _look()
            lines.write(json.dumps(answer) + "\n")
            lines.flush()


def _remembered(make: Callable[[], asyncio.AbstractEventLoop]) -> Callable[[], asyncio.AbstractEventLoop]:
    def made() -> asyncio.AbstractEventLoop:
        loop = make()
        _loops.append(loop)
        return loop

    return made


def main(folder: str, *arguments: str) -> None:
    """Run `coatcheck` with these arguments."""
    for module in (uvloop, asyncio):
        vars(module)["new_event_loop"] = _remembered(module.new_event_loop)
    _open_window(Path(folder))
    os.register_at_fork(after_in_child=lambda: _open_window(Path(folder)))
    from coatcheck.cli.main import main as coatcheck  # noqa: PLC0415 - after the loops are watched

    sys.argv[1:] = arguments
    sys.exit(coatcheck())


if __name__ == "__main__":
    main(*sys.argv[1:])
