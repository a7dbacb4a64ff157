"""What the clients of a drill were told: about each request, and over all in little memory."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

TERMINAL = ("completed", "failed")
MAX_SHOWN = 20

NO_ANSWER = 0
"""Stands for a status when the connection failed or nothing came in time."""

_VARYING = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9]+(\.[0-9]+)?")


@dataclass(slots=True)
class Ticket:
    """One client's request. `seen` are (status, digest of the answer), change by change. `carries` is what its result
    must carry, `wrong` what an answer carried instead. `keyed`: it has an Idempotency-Key.
    """

    key: str
    ids: list[str] = field(default_factory=list)
    seen: list[tuple[str, str]] = field(default_factory=list)
    accepted_at: float = 0.0
    accepted_unix: float = 0.0
    ended_at: float = 0.0
    path: str = ""
    carries: str = ""
    wrong: str = ""
    keyed: bool = True

    @property
    def missing(self) -> bool:
        return bool(self.seen) and self.seen[-1][0] == "missing"

    def saw(self, status: str, digest: str) -> None:
        """Note a poll; equal ones in a row are one."""
        if not self.seen or self.seen[-1] != (status, digest):
            self.seen.append((status, digest))


@dataclass(slots=True)
class ClientLog:
    """Answers to submits are kept one by one, as (status, seconds it took); polls are only counted, by status."""

    submits: list[tuple[int, float]] = field(default_factory=list)
    polls: Counter[int] = field(default_factory=Counter)
    odd: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    """Why jobs failed, as they say; ids and numbers are left out."""

    def note_odd(self, what: str) -> None:
        """Note an answer that nobody should get, whatever is broken."""
        if what in self.odd or len(self.odd) < MAX_SHOWN:
            self.odd[what] += 1

    def odd_lines(self) -> list[str]:
        return [f"odd answer, {count} times: {what}" for what, count in self.odd.items()]

    def note_failed(self, why: str) -> None:
        reason = _VARYING.sub("#", why)[:200]
        if reason in self.reasons or len(self.reasons) < MAX_SHOWN:
            self.reasons[reason] += 1
