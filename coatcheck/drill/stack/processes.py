"""What the system knows of the drill's processes: whose a connection is, and what each one holds. Linux only."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil


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
    members = dict(processes_of(groups))
    return {
        ends: members[each.pid]
        for each in psutil.net_connections("tcp4")
        if each.pid in members
        and each.laddr
        and each.raddr
        and (ends := (each.laddr.port, each.raddr.port)) in connections
    }


def processes_of(groups: Mapping[int, str]) -> Iterator[tuple[int, str]]:
    """The ids of all processes in these process groups, each with the name of its group."""
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError):
            name = groups.get(os.getpgid(pid))
            if name:
                yield pid, name


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
    established = Counter(each.pid for each in psutil.net_connections("tcp") if each.status == psutil.CONN_ESTABLISHED)
    found: dict[str, ProcessStats] = {}
    children: Counter[str] = Counter()
    for pid, name in processes_of(groups):
        with contextlib.suppress(psutil.Error):  # it may end while we look
            stats = _stats_of(psutil.Process(pid), established[pid])
            children[name] += pid not in groups
            found[name if pid in groups else f"{name}.{children[name]}"] = stats
    return found


def _stats_of(process: psutil.Process, connections: int) -> ProcessStats:
    with process.oneshot():
        cpu = process.cpu_times()
        return ProcessStats(
            at=time.monotonic(),
            rss_mb=process.memory_info().rss / 1024**2,
            descriptors=process.num_fds(),
            threads=process.num_threads(),
            connections=connections,
            cpu_seconds=cpu.user + cpu.system,
        )


def peak_memory(pid: int) -> int:
    """The most KB that a process has held since its start; 0 if nobody knows. psutil does not."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1])
    return 0
