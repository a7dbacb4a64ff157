"""Counts must never cost a process its life: without room on the disk they are kept in memory."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict

from shared.metrics_room import RoomyDict

MANY = [f"key {number}" + "x" * 500 for number in range(200)]


Open = Callable[[str], RoomyDict]


@pytest.fixture
def open_counts(tmp_path: Path) -> Iterator[Open]:
    """Opens files of counts below the test's own folder, and closes them."""
    opened: list[RoomyDict] = []

    def make(name: str) -> RoomyDict:
        opened.append(RoomyDict(str(tmp_path / name)))
        return opened[-1]

    yield make
    for each in opened:
        each.close()  # type: ignore[no-untyped-call]


def full_disk(file: int, start: int, length: int) -> None:
    raise OSError(errno.ENOSPC, "no space left on device")


def stored(file: Path) -> int:
    return file.stat().st_blocks * 512


def test_a_file_takes_its_room_before_anything_is_counted_and_again_when_it_grows(
    tmp_path: Path, open_counts: Open
) -> None:
    counts = open_counts("counter_1.db")
    assert stored(tmp_path / "counter_1.db") == 65536
    for key in MANY:
        counts.write_value(key, 1.0, 0.0)  # type: ignore[no-untyped-call]
    assert stored(tmp_path / "counter_1.db") == 131072
    found = MmapedDict.read_all_values_from_file(str(tmp_path / "counter_1.db"))  # type: ignore[no-untyped-call]
    assert [key for key, *_ in found] == MANY


def test_without_room_at_the_start_counts_are_kept_in_memory_and_a_line_says_so(
    tmp_path: Path, open_counts: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", full_disk)
    counts = open_counts("counter_1.db")
    for key in MANY:
        counts.write_value(key, 2.0, 0.0)  # type: ignore[no-untyped-call]
    assert counts.read_value(MANY[-1])[0] == 2.0  # type: ignore[no-untyped-call]
    assert stored(tmp_path / "counter_1.db") == 0
    assert "no room" in caplog.text


def test_when_the_room_ends_later_no_count_is_lost_to_its_process(
    open_counts: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = open_counts("counter_1.db")
    counts.write_value(MANY[0], 7.0, 0.0)  # type: ignore[no-untyped-call]
    monkeypatch.setattr(os, "posix_fallocate", full_disk)
    for key in MANY[1:]:
        counts.write_value(key, 1.0, 0.0)  # type: ignore[no-untyped-call]
    assert [counts.read_value(key)[0] for key in MANY] == [7.0, *[1.0] * 199]  # type: ignore[no-untyped-call]


def test_no_file_at_all_is_no_reason_to_die_either(open_counts: Open) -> None:
    counts = open_counts("not there/counter_1.db")
    counts.write_value("key", 1.0, 0.0)  # type: ignore[no-untyped-call]
    assert counts.read_value("key")[0] == 1.0  # type: ignore[no-untyped-call]
