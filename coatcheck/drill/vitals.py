"""What processes hold at one moment: memory, descriptors, threads, connections and CPU. Read from /proc, Linux only."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from coatcheck.drill.owners import processes_of, sockets_of

_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_STATE, _INODE, _ESTABLISHED = 3, 9, "01"
_TICKS = os.sysconf("SC_CLK_TCK")
_USER, _SYSTEM = 11, 12
"""Columns of /proc/PID/stat, counted from the one after the program's name."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """One process at the monotonic time `at`. `connections` are established TCP ones; `cpu_seconds` since its start."""

    at: float
    rss_mb: float
    descriptors: int
    threads: int
    connections: int
    cpu_seconds: float


def take_vitals(groups: Mapping[int, str]) -> dict[str, Vitals]:
    """The vitals of every process in these process groups: a leader under the group's name, what it started as
    `name.1`, `name.2`. Blocks for milliseconds.
    """
    established = frozenset(_established())
    found: dict[str, Vitals] = {}
    children: Counter[str] = Counter()
    for pid, name in sorted(processes_of(groups), key=lambda each: int(each[0])):
        with contextlib.suppress(OSError):  # it may end while we look
            vitals = _of(Path("/proc", pid), established)
            children[name] += int(pid) not in groups
            found[name if int(pid) in groups else f"{name}.{children[name]}"] = vitals
    return found


def _of(process: Path, established: frozenset[str]) -> Vitals:
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    stat = (process / "stat").read_text().rpartition(")")[2].split()
    return Vitals(
        at=time.monotonic(),
        rss_mb=int(status["VmRSS"].split()[0]) / 1024 if "VmRSS" in status else 0.0,
        descriptors=len(os.listdir(process / "fd")),  # noqa: PTH208 - only their number counts
        threads=int(status["Threads"]),
        connections=len(established.intersection(sockets_of(process.name))),
        cpu_seconds=(int(stat[_USER]) + int(stat[_SYSTEM])) / _TICKS,
    )


def _established() -> Iterable[str]:
    for table in _TABLES:
        if table.exists():
            for line in table.read_text().splitlines()[1:]:
                columns = line.split()
                if columns[_STATE] == _ESTABLISHED:
                    yield columns[_INODE]
