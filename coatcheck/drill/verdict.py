"""The invariants of a drill, checked over what clients were told, what is stored and what the upstream got. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

TERMINAL = ("completed", "failed")
MAX_SHOWN = 20


@dataclass(slots=True)
class Ticket:
    """What one client was told about one request. `seen` are (status, digest of the answer), change by change."""

    key: str
    ids: list[str] = field(default_factory=list)
    seen: list[tuple[str, str]] = field(default_factory=list)
    accepted_at: float = 0.0
    accepted_unix: float = 0.0
    ended_at: float = 0.0

    @property
    def missing(self) -> bool:
        """Whether the job was gone when its client asked last."""
        return bool(self.seen) and self.seen[-1][0] == "missing"

    def saw(self, status: str, digest: str) -> None:
        """Note a poll; equal ones in a row are one."""
        if not self.seen or self.seen[-1] != (status, digest):
            self.seen.append((status, digest))


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything a verdict rests on.

    `final` is what the API says at the end, (status, digest) by id; `stored` the status in the database by id;
    `endings` how often each id went to an ended state, from the database's own log; `calls` provider calls by id.
    """

    tickets: Sequence[Ticket]
    final: Mapping[str, tuple[str, str]]
    stored: Mapping[str, str]
    endings: Mapping[str, int]
    calls: Mapping[str, int]
    kept: int = 0
    """Jobs in the database at the end, accepted in this drill or not."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Counts, and for each violation a line with the id."""

    accepted: int
    ended: int
    completed: int
    failed: int
    lost: int
    stuck: int
    changed: int
    doubled: int
    calls: int
    repeated_calls: int
    violations: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether every invariant held."""
        return not self.violations

    def with_more(self, violations: Sequence[str]) -> Verdict:
        """With violations that were found elsewhere."""
        return replace(self, violations=(*self.violations, *violations)[:MAX_SHOWN])

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {name: getattr(self, name) for name in self.__slots__}


def judge(evidence: Evidence) -> Verdict:
    """Check every accepted job: it exists, it ended, once, and its answer never changed."""
    by_id = {job_id: ticket for ticket in evidence.tickets for job_id in ticket.ids}
    lost = [job_id for job_id in by_id if job_id not in evidence.stored]
    stuck = [job_id for job_id in by_id if evidence.stored.get(job_id) not in (*TERMINAL, None)]
    changed = [job_id for job_id, ticket in by_id.items() if _changed(ticket, evidence.final.get(job_id))]
    changed += [job_id for job_id in by_id if evidence.endings.get(job_id, 0) > 1 and job_id not in changed]
    doubled = [ticket.key for ticket in evidence.tickets if len(set(ticket.ids)) > 1]
    ended = Counter(evidence.stored[job_id] for job_id in by_id if evidence.stored.get(job_id) in TERMINAL)
    unwitnessed = [i for i in by_id if evidence.stored.get(i) in TERMINAL and i not in evidence.endings]
    violations = [
        *(f"lost: {job_id} was accepted and is gone" for job_id in lost),
        *(f"stuck: {job_id} is still {evidence.stored[job_id]}" for job_id in stuck),
        *(f"changed: {job_id} {_history(by_id[job_id], evidence, job_id)}" for job_id in changed),
        *(f"doubled: key {key} made more than one job" for key in doubled),
        *(f"unwitnessed: the end of {job_id} is not in the database's log" for job_id in unwitnessed),
    ]
    return Verdict(
        accepted=len(by_id),
        ended=sum(ended.values()),
        completed=ended["completed"],
        failed=ended["failed"],
        lost=len(lost),
        stuck=len(stuck),
        changed=len(changed),
        doubled=len(doubled),
        calls=sum(evidence.calls.values()),
        repeated_calls=sum(count - 1 for job_id, count in evidence.calls.items() if count > 1 and job_id in by_id),
        violations=tuple(violations[:MAX_SHOWN]),
    )


def _changed(ticket: Ticket, final: tuple[str, str] | None) -> bool:
    """Whether any poll after the first ended one said something else, the last one included."""
    polls = [*ticket.seen, *([final] if final else [])]
    ended = [position for position, (status, _) in enumerate(polls) if status in TERMINAL]
    return bool(ended) and len(set(polls[ended[0] :])) > 1


def _history(ticket: Ticket, evidence: Evidence, job_id: str) -> str:
    seen = ", ".join(f"{status} {digest[:8]}".strip() for status, digest in ticket.seen)
    return f"seen as {seen}; at the end {evidence.final.get(job_id)}; ended {evidence.endings.get(job_id, 0)} times"
