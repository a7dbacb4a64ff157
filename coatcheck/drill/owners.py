"""Which of the drill's processes a loopback connection comes from, read from the kernel's own tables. Linux only."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

_TABLE = Path("/proc/net/tcp")
_LOCAL, _REMOTE, _INODE = 1, 2, 9


class Owners:
    """`groups` says which process groups there are, by the name of the member whose group it is."""

    def __init__(self, groups: Callable[[], Mapping[int, str]]) -> None:
        self._groups = groups
        self._asked: dict[tuple[int, int], asyncio.Future[str]] = {}
        self._scan: asyncio.Task[None] | None = None

    async def of(self, port: int, to: int) -> str:
        """The member whose connection goes from `port` to our port `to`; empty if nobody's is.

        Who asks at the same time shares one look at the tables.
        """
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
    by_inode = dict(_inodes(connections))
    found = {}
    for pid, name in processes_of(groups):
        for inode in sockets_of(pid):
            if inode in by_inode:
                found[by_inode[inode]] = name
    return found


def _inodes(connections: frozenset[tuple[int, int]]) -> Iterator[tuple[str, tuple[int, int]]]:
    if not _TABLE.exists():
        return
    for line in _TABLE.read_text().splitlines()[1:]:
        columns = line.split()
        connection = (_port(columns[_LOCAL]), _port(columns[_REMOTE]))
        if connection in connections:
            yield columns[_INODE], connection


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)


def processes_of(groups: Mapping[int, str]) -> Iterator[tuple[str, str]]:
    """The ids of all processes in these process groups, each with the name of its group."""
    for pid in os.listdir("/proc"):  # noqa: PTH208 - hundreds of them, at every connection
        if pid.isdecimal():
            with contextlib.suppress(ProcessLookupError):
                name = groups.get(os.getpgid(int(pid)))
                if name:
                    yield pid, name


def sockets_of(pid: str) -> Iterator[str]:
    """The inodes of a process's sockets; nothing of one that has ended."""
    with contextlib.suppress(OSError):  # it may end while we look
        for descriptor in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(descriptor.path)  # noqa: PTH115 - as above
                if target.startswith("socket:["):
                    yield target[8:-1]
