"""What a process group has used: CPU seconds and resident memory, from /proc (Linux only)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds since the start, resident bytes now of all processes of one group, and of the largest of them."""

    cpu: float
    rss: int
    largest: int


def usage(group: int) -> Usage:
    """Sum over the processes whose group id is `group`."""
    cpu, sizes = 0, [0]
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            # The name in parentheses may hold spaces; the fields that count come after it.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group:
            cpu += int(fields[11]) + int(fields[12])
            sizes.append(int(fields[21]) * _PAGE)
    return Usage(cpu / _TICK, sum(sizes), max(sizes))


def machine_cpu() -> float:
    """CPU seconds that all processes of this machine have used, and those that its host took away."""
    user, nice, system, _idle, _wait, irq, softirq, steal = Path("/proc/stat").read_text().split()[1:9]
    return sum(map(int, (user, nice, system, irq, softirq, steal))) / _TICK
