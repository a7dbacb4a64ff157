"""What the kernel knows of the drill's processes: whose a connection is, and what each one holds. Linux only."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_LOCAL, _REMOTE, _STATE, _INODE, _ESTABLISHED = 1, 2, 3, 9, "01"
"""Columns of /proc/net/tcp, and what stands in the one of the state."""
_USER, _SYSTEM = 11, 12
"""Columns of /proc/PID/stat, counted from the one after the program's name."""
_TICKS = os.sysconf("SC_CLK_TCK")


class PortOwners:
    """`groups` says which process groups there are, by the name of the member whose group it is."""

    def __init__(self, groups: Callable[[], Mapping[int, str]]) -> None:
        self._groups = groups
        self._asked: dict[tuple[int, int], asyncio.Future[str]] = {}
        self._scan: asyncio.Task[None] | None = None

    async def of(self, port: int, to: int) -> str:
        """The member whose connection goes from `port` to our port `to`, or empty. Who asks meanwhile shares a look."""
        answer = self._asked.setdefault((port, to), asyncio.get_running_loop().create_future())
        if self._scan is None or self._scan.done():
            self._scan = asyncio.create_task(self._answer_all())
        return await answer

    async def _answer_all(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, {}
            found = await asyncio.to_thread(_owners, frozenset(asked), dict(self._groups()))
            for connection, answer in asked.items():
                if not answer.done():
                    answer.set_result(found.get(connection, ""))


def _owners(connections: frozenset[tuple[int, int]], groups: Mapping[int, str]) -> dict[tuple[int, int], str]:
    ends = ((row[_INODE], (_port(row[_LOCAL]), _port(row[_REMOTE]))) for row in _sockets("tcp"))
    by_inode = {inode: connection for inode, connection in ends if connection in connections}
    return {
        by_inode[inode]: name for pid, name in processes_of(groups) for inode in _sockets_of(pid) if inode in by_inode
    }


def _sockets(table: str) -> Iterator[list[str]]:
    with contextlib.suppress(FileNotFoundError):
        yield from (line.split() for line in Path("/proc/net", table).read_text().splitlines()[1:])


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)


def processes_of(groups: Mapping[int, str]) -> Iterator[tuple[int, str]]:
    """The ids of all processes in these process groups, each with the name of its group."""
    for entry in os.listdir("/proc"):  # noqa: PTH208 - hundreds of them, at every connection
        if entry.isdecimal():
            with contextlib.suppress(ProcessLookupError):
                name = groups.get(os.getpgid(int(entry)))
                if name:
                    yield int(entry), name


def _sockets_of(pid: int) -> Iterator[str]:
    """Inodes; nothing of a process that has ended."""
    with contextlib.suppress(OSError):  # it may end while we look
        for descriptor in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(descriptor.path)  # noqa: PTH115 - as above
                if target.startswith("socket:["):
                    yield target[8:-1]


@dataclass(frozen=True, slots=True)
class ProcessStats:
    """One process at the monotonic time `at`. `connections` are established TCP ones; `cpu_seconds` since its start."""

    at: float
    rss_mb: float
    descriptors: int
    threads: int
    connections: int
    cpu_seconds: float


def take_vitals(groups: Mapping[int, str]) -> dict[str, ProcessStats]:
    """For each process in these groups: a leader under the group's name, others as `name.1`. Blocks for some ms."""
    rows = (row for table in ("tcp", "tcp6") for row in _sockets(table))
    established = frozenset(row[_INODE] for row in rows if row[_STATE] == _ESTABLISHED)
    found: dict[str, ProcessStats] = {}
    children: Counter[str] = Counter()
    for pid, name in sorted(processes_of(groups)):
        with contextlib.suppress(OSError):  # it may end while we look
            stats = _stats_of(pid, established)
            children[name] += pid not in groups
            found[name if pid in groups else f"{name}.{children[name]}"] = stats
    return found


def _stats_of(pid: int, established: frozenset[str]) -> ProcessStats:
    process = Path("/proc", str(pid))
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    stat = (process / "stat").read_text().rpartition(")")[2].split()
    return ProcessStats(
        at=time.monotonic(),
        rss_mb=int(status["VmRSS"].split()[0]) / 1024 if "VmRSS" in status else 0.0,
        descriptors=len(os.listdir(process / "fd")),  # noqa: PTH208 - only their number counts
        threads=int(status["Threads"]),
        connections=len(established.intersection(_sockets_of(pid))),
        cpu_seconds=(int(stat[_USER]) + int(stat[_SYSTEM])) / _TICKS,
    )


def peak_memory(pid: int) -> int:
    """The most KB that a process has held since its start; 0 if nobody knows."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1])
    return 0
