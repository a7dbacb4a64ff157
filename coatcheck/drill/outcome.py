"""What came of a drill that was run: its evidence, judged, beside its figures and its bounds."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from coatcheck.drill import growth
from coatcheck.drill.bounds import broken
from coatcheck.drill.call_log import CallLog
from coatcheck.drill.cluster import LEASE_SECONDS, Size
from coatcheck.drill.evidence import remembered
from coatcheck.drill.figures import Measured, figures, recoveries
from coatcheck.drill.load import Clients
from coatcheck.drill.nemesis import Nemesis
from coatcheck.drill.report import Report
from coatcheck.drill.scenario import Scenario
from coatcheck.drill.verdict import Evidence, Verdict, judge


@dataclass(frozen=True, slots=True)
class Run:
    """A drill that is over. `beyond` are figures of its own parts, `took` is in seconds."""

    scenario: Scenario
    seed: int
    size: Size
    clients: Clients
    nemesis: Nemesis
    calls: CallLog
    everything: Evidence
    history: growth.History
    beyond: Mapping[str, float]
    took: float

    def report(self) -> Report:
        """The verdict, with what the figures and the processes say against the drill."""
        evidence = self._evidence()
        verdict = judge(evidence)
        found = self._figures(evidence, verdict)
        return Report(
            scenario=self.scenario.name,
            seed=self.seed,
            setup=f"{self.size.databases} databases, {self.size.brokers} brokers, " if self.size.databases > 1 else "",
            lease=LEASE_SECONDS,
            verdict=verdict.with_more(self._complaints(found)),
            bounds=[str(bound) for bound in self.scenario.bounds],
            faults=self.nemesis.applied,
            recoveries=recoveries(self.clients.tickets, self.nemesis.applied),
            figures=found,
            took=self.took,
            vitals=growth.table(self.history),
        )

    def _evidence(self) -> Evidence:
        """Without what the database was made to forget, where that is the fault."""
        if not self.scenario.forgets:
            return self.everything
        return remembered(self.everything, max(each.mended for each in self.nemesis.applied))

    def _figures(self, evidence: Evidence, verdict: Verdict) -> dict[str, float]:
        measured = Measured(
            tickets=self.clients.tickets,
            sightings=self.clients.sightings,
            faults=self.nemesis.applied,
            first_calls=self.calls.first_calls(),
            verdict=verdict,
            deaths=len(self.nemesis.deaths),
            wanted=self.scenario.jobs,
        )
        return {
            **figures(measured),
            **self.beyond,
            **growth.growths(self.history),
            **growth.cpu_shares(self.history),
            "kept": evidence.kept,
            "forgotten": len(self.clients.tickets) - len(evidence.tickets),
            "drill_cpu_share": round(time.process_time() / self.took, 3),
        }

    def _complaints(self, found: Mapping[str, float]) -> list[str]:
        deaths = [] if self.scenario.deadly else self.nemesis.deaths
        return [
            *(f"odd answer, {count} times: {what}" for what, count in self.clients.sightings.odd.items()),
            *(f"died by itself: {death}" for death in deaths),
            *self.calls.violations,
            *(f"failed {count} times for another reason: {why}" for why, count in self._unforeseen().items()),
            *(f"bound {line}" for line in broken(self.scenario.bounds, found)),
        ]

    def _unforeseen(self) -> dict[str, int]:
        """Reasons why jobs failed that the scenario does not name, if it names any."""
        known, reasons = self.scenario.reasons or ("",), self.clients.sightings.reasons
        return {why: count for why, count in reasons.items() if not any(each in why for each in known)}
