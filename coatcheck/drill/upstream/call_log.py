"""What a drill is judged by: every call the upstream got, when, how it ended, and which were made twice."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from coatcheck.drill.model.percentiles import spread
from coatcheck.drill.model.ticket import MAX_SHOWN

_MAX_MARKERS = 2_000_000
_CLOCK_SLACK = 0.05
"""Seconds by which the database's clock, which decides, may differ from ours."""


class UpstreamCall(msgspec.Struct):
    """One call. `marker` names the job it is made for, empty if the caller did not say."""

    path: str
    call: str
    marker: str
    model: str
    started: float  # Unix time
    repeated: bool  # a call for the same job had been answered before, or was open


class CallLog:
    """Counts calls and appends a JSON line for each one that ends. Markers beyond two million are not told apart."""

    def __init__(self, path: Path | None = None) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if path else None
        self._open: dict[int, UpstreamCall] = {}
        self._running: Counter[str] = Counter()
        self._answered: set[str] = set()
        self._outcomes: Counter[str] = Counter()
        self.by_marker: Counter[str] = Counter()
        self.first_calls: dict[str, float] = {}
        self._not_before: dict[tuple[str, str], float] = {}
        self._call_ids: set[str] = set()
        self._broken_at: dict[str, float] = {}
        self._resumed: list[float] = []
        self.violations: list[str] = []
        """Calls that nobody may make: under an id that was used before, or before the Retry-After of the last one."""
        self.calls = 0
        self.repeated = 0
        self.peak = 0

    def start(self, path: str, headers: dict[bytes, bytes], model: str) -> UpstreamCall:
        """Counts a call whose request has come in whole."""
        call_id = headers.get(b"x-coatcheck-call", b"").decode("latin-1")
        marker = headers.get(b"x-drill-marker", b"").decode("latin-1") or call_id.partition("/")[0]
        repeated = bool(marker) and (marker in self._answered or self._running[marker] > 0)
        call = UpstreamCall(path, call_id, marker, model, time.time(), repeated)
        self.calls += 1
        self.repeated += repeated
        self._open[id(call)] = call
        self._check(call)
        self.peak = max(self.peak, len(self._open))
        if marker:
            self._running[marker] += 1
            if marker in self.by_marker or len(self.by_marker) < _MAX_MARKERS:
                self.by_marker[marker] += 1
                self.first_calls.setdefault(marker, call.started)
        return call

    def _check(self, call: UpstreamCall) -> None:
        if call.call:
            if call.call in self._call_ids:
                self._violated(f"twice: two calls have the id {call.call}: one claim called one target twice")
            elif len(self._call_ids) < _MAX_MARKERS:
                self._call_ids.add(call.call)
        early_by = self._not_before.pop((call.marker, call.model), 0.0) - _CLOCK_SLACK - call.started
        if early_by > 0:
            self._violated(f"early: {call.call} was called {early_by:.1f} s before the Retry-After of the last call")

        if broken_at := self._broken_at.pop(call.marker, 0.0):
            self._resumed.append(call.started - broken_at)

    def figures(self) -> dict[str, float]:
        """Most calls at once; seconds from a call whose caller went away to the next one for the same job."""
        return {"calls_at_once": self.peak, **spread("resumed", self._resumed)}

    def _violated(self, what: str) -> None:
        if len(self.violations) < MAX_SHOWN:
            self.violations.append(what)

    def end(self, call: UpstreamCall, outcome: str, retry_after: float | None = None) -> None:
        """Writes a call's line. `outcome` is a status or a way to fail. The second end of a call does not count."""
        if self._open.pop(id(call), None) is None:
            return
        if outcome == "gone" and call.marker:
            self._broken_at[call.marker] = time.time()
        if retry_after and call.marker:
            self._not_before[call.marker, call.model] = time.time() + retry_after
        self._outcomes[outcome] += 1
        if call.marker:
            self._running[call.marker] -= 1
            if not self._running[call.marker]:
                del self._running[call.marker]
            if outcome == "200" and len(self._answered) < _MAX_MARKERS:
                self._answered.add(call.marker)
        if self._file is not None:
            line = {**msgspec.structs.asdict(call), "ended": time.time(), "outcome": outcome}
            os.write(self._file, msgspec.json.encode(line) + b"\n")

    def counters(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "open": len(self._open),
            "peak": self.peak,
            "repeated": self.repeated,
            "answered_markers": len(self._answered),
            "outcomes": dict(self._outcomes),
        }

    def close(self) -> None:
        """Writes what is still open and closes the file."""
        for call in list(self._open.values()):
            self.end(call, "open")
        if self._file is not None:
            os.close(self._file)
            self._file = None
