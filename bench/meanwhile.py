"""What a load used while it ran: CPU by component, memory at its end, and what others took of the machine."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass

from bench.loadgen import Upstream
from bench.running import Running
from bench.stacks.processes import Usage, machine_cpu


@dataclass(frozen=True, slots=True)
class Used:
    """CPU seconds since the beginning by component, `upstream` among them, and each component as it is at the end."""

    cpu: Mapping[str, float]
    at_end: Mapping[str, Usage]
    others_percent: int
    """Of all cores of the machine: neither the stack, the upstream nor the bench itself."""


class Meanwhile:
    """Counts from its making until `over`. A component that was started in between counts from its own start."""

    def __init__(self, running: Running, upstream: Upstream) -> None:
        self._running = running
        self._upstream = upstream
        self._stack = running.used()
        self._upstream_cpu = upstream.cpu()
        self._bench = _bench_cpu()
        self._machine = machine_cpu()
        self._began = time.monotonic()

    def over(self) -> Used:
        """What was used. A load generator counts for the bench only once it has ended."""
        at_end, machine = self._running.used(), machine_cpu() - self._machine
        seconds = time.monotonic() - self._began
        cpu = {
            part: used.cpu - (self._stack[part].cpu if part in self._stack else 0.0) for part, used in at_end.items()
        }
        cpu["upstream"] = self._upstream.cpu() - self._upstream_cpu
        others = machine - sum(cpu.values()) - (_bench_cpu() - self._bench)
        return Used(cpu, at_end, round(max(0.0, others) / seconds / (os.cpu_count() or 1) * 100))


def _bench_cpu() -> float:
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
