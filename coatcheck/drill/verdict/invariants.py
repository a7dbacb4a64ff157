"""The invariants of a drill, checked over what clients were told, what is stored and what the upstream got. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from coatcheck.drill.model.ticket import MAX_SHOWN, TERMINAL, Ticket

_SHOWN_OF_A_KIND = 5


@dataclass(frozen=True, slots=True)
class Observations:
    """By id: `final` is what the API says at the end, (status, digest); `stored` the status in the database; `endings`
    how often it went to an ended state, from the database's own log; `calls` those of the provider; `wrong` what its
    stored answer carries instead of what it should. `kept` jobs are in the database at the end, of this drill or not. A
    line each: `orphans` are chunks without a job and jobs without their chunks; `unsound` jobs that say both that they
    ended and that they did not, and indexes that are gone.
    """

    tickets: Sequence[Ticket]
    final: Mapping[str, tuple[str, str]]
    stored: Mapping[str, str]
    endings: Mapping[str, int]
    calls: Mapping[str, int]
    kept: int = 0
    wrong: Mapping[str, str] = field(default_factory=dict)
    orphans: Sequence[str] = ()
    unsound: Sequence[str] = ()


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
    wrong: int
    doubled: int
    orphans: int
    calls: int
    repeated_calls: int
    violations: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.violations

    def with_more(self, violations: Sequence[str]) -> Verdict:
        return replace(self, violations=(*self.violations, *violations[:MAX_SHOWN]))

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def judge(observations: Observations) -> Verdict:
    """Check every accepted job: it exists, it ended, once, its answer is its own, and never changed."""
    by_id = {job_id: ticket for ticket in observations.tickets for job_id in ticket.ids}
    lost = [job_id for job_id in by_id if job_id not in observations.stored]
    stuck = [job_id for job_id in by_id if observations.stored.get(job_id) not in (*TERMINAL, None)]
    changed = [job_id for job_id, ticket in by_id.items() if _changed(ticket, observations.final.get(job_id))]
    changed += [job_id for job_id in by_id if observations.endings.get(job_id, 0) > 1 and job_id not in changed]
    wrong = _wrong(observations)
    doubled = [ticket.key for ticket in observations.tickets if len(set(ticket.ids)) > 1]
    ended = Counter(observations.stored[job_id] for job_id in by_id if observations.stored.get(job_id) in TERMINAL)
    unwitnessed = [i for i in by_id if observations.stored.get(i) in TERMINAL and i not in observations.endings]
    violations = [
        *_some([f"lost: {job_id} was accepted and is gone" for job_id in lost]),
        *_some([f"stuck: {job_id} is still {observations.stored[job_id]}" for job_id in stuck]),
        *_some([f"changed: {job_id} {_history(by_id[job_id], observations, job_id)}" for job_id in changed]),
        *_some([f"wrong: {job_id} was answered with {what}" for job_id, what in wrong.items()]),
        *_some([f"doubled: key {key} made more than one job" for key in doubled]),
        *_some([f"database: {what}" for what in observations.unsound]),
        *_some([f"orphan: {what}" for what in observations.orphans]),
        *_some([f"unwitnessed: the end of {job_id} is not in the database's log" for job_id in unwitnessed]),
    ]
    return Verdict(
        accepted=len(by_id),
        ended=sum(ended.values()),
        completed=ended["completed"],
        failed=ended["failed"],
        lost=len(lost),
        stuck=len(stuck),
        changed=len(changed),
        wrong=len(wrong),
        doubled=len(doubled),
        orphans=len(observations.orphans),
        calls=sum(observations.calls.values()),
        repeated_calls=sum(count - 1 for job_id, count in observations.calls.items() if count > 1 and job_id in by_id),
        violations=tuple(violations),
    )


def _some(lines: Sequence[str]) -> list[str]:
    """The first few, so that no kind of violation hides another."""
    more = len(lines) - _SHOWN_OF_A_KIND
    return [*lines[:_SHOWN_OF_A_KIND], *([f"{lines[0].partition(':')[0]}: {more} more"] if more > 0 else [])]


def _wrong(observations: Observations) -> dict[str, str]:
    """Jobs that a client or the database knows with the answer of another request; and whose it is, if we know."""
    told = {job_id: ticket.wrong for ticket in observations.tickets for job_id in ticket.ids if ticket.wrong}
    owners = {ticket.carries: ticket.ids[0] for ticket in observations.tickets if ticket.carries and ticket.ids}
    owners |= {ticket.key: ticket.ids[0] for ticket in observations.tickets if ticket.ids}
    return {
        job_id: f"what belongs to {owners[carried]}" if carried in owners else carried
        for job_id, carried in {**observations.wrong, **told}.items()
    }


def _changed(ticket: Ticket, final: tuple[str, str] | None) -> bool:
    """Whether any poll after the first ended one said something else, the last one included."""
    polls = [*ticket.seen, *([final] if final else [])]
    ended = [position for position, (status, _) in enumerate(polls) if status in TERMINAL]
    return bool(ended) and len(set(polls[ended[0] :])) > 1


def _history(ticket: Ticket, observations: Observations, job_id: str) -> str:
    seen = ", ".join(f"{status} {digest[:8]}".strip() for status, digest in ticket.seen)
    final, times = observations.final.get(job_id), observations.endings.get(job_id, 0)
    return f"seen as {seen}; at the end {final}; ended {times} times"
