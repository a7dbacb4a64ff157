"""The order of starting and stopping, on parts that only note what happens to them."""

from __future__ import annotations

import asyncio
import threading

import pytest

from coatcheck.dev.child import Child, ChildFailed
from coatcheck.dev.supervisor import Supervisor


class FakeChild(Child):
    def __init__(self, name: str, notes: list[str]) -> None:
        self.name = name
        self.code: int | None = None
        self.stubborn = False
        self._notes = notes

    @property
    def exit_code(self) -> int | None:
        return self.code

    def stop(self, timeout: float) -> bool:
        self._notes.append(f"stop {self.name}")
        self.code = 0
        return not self.stubborn

    def kill(self) -> None:
        self.code = -9 if self.code is None else self.code

    def epitaph(self) -> str:
        return f"{self.name} ended with exit code {self.code}"

    def trim_log(self) -> None:
        self._notes.append(f"trim {self.name}")


class FakePart:
    stop_seconds = 3.0

    def __init__(self, name: str, notes: list[str], *, fails: bool = False) -> None:
        self.name = name
        self.child = FakeChild(name, notes)
        self._notes = notes
        self._fails = fails

    def start(self) -> Child:
        assert threading.current_thread() is threading.main_thread()
        self._notes.append(f"start {self.name}")
        return self.child

    def wait_ready(self, child: Child) -> None:
        if self._fails:
            child.code = 7  # type: ignore[attr-defined]
            raise ChildFailed(child.epitaph())
        self._notes.append(f"ready {self.name}")


async def test_stages_stop_backwards_and_their_parts_in_the_given_order() -> None:
    notes: list[str] = []
    said: list[tuple[str, str]] = []
    supervisor = Supervisor(lambda name, text: said.append((name, text)))
    await supervisor.start(FakePart("broker", notes), FakePart("mongod", notes))
    await supervisor.start(FakePart("edge", notes), FakePart("worker", notes), FakePart("reaper", notes))
    assert {name for name, text in said if text.startswith("ready")} == {"broker", "mongod", "edge", "worker", "reaper"}
    notes.clear()
    await supervisor.stop()
    assert notes == ["stop edge", "stop worker", "stop reaper", "stop broker", "stop mongod"]


async def test_a_part_that_cannot_start_is_named_and_the_others_are_stopped_on_request() -> None:
    notes: list[str] = []
    supervisor = Supervisor(lambda name, text: None)
    await supervisor.start(FakePart("mongod", notes))
    with pytest.raises(ChildFailed, match="worker ended with exit code 7"):
        await supervisor.start(FakePart("edge", notes), FakePart("worker", notes, fails=True))
    await supervisor.stop()
    assert [note for note in notes if note.startswith("stop")] == ["stop edge", "stop mongod"]


async def test_the_watch_ends_with_the_epitaph_of_the_first_death() -> None:
    notes: list[str] = []
    supervisor = Supervisor(lambda name, text: None)
    reaper = FakePart("reaper", notes)
    await supervisor.start(FakePart("edge", notes), reaper)
    watch = asyncio.create_task(supervisor.watch())
    await asyncio.sleep(0)
    assert not watch.done()
    reaper.child.code = -9
    with pytest.raises(ChildFailed, match="reaper ended with exit code -9"):
        await asyncio.wait_for(watch, 5)


async def test_a_stubborn_part_is_reported_as_killed() -> None:
    said: list[tuple[str, str]] = []
    supervisor = Supervisor(lambda name, text: said.append((name, text)))
    edge = FakePart("edge", [])
    edge.child.stubborn = True
    await supervisor.start(edge)
    await supervisor.stop()
    assert said[-1][0] == "edge"
    assert said[-1][1].startswith("killed, it did not stop in 3 s")
