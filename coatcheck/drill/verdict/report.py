"""What came of a drill that was run: its evidence, judged, beside its figures and bounds; in lines or as one object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from coatcheck.drill.faults.nemesis import Nemesis
from coatcheck.drill.load.clients import Clients
from coatcheck.drill.model.plan import Applied
from coatcheck.drill.scenarios.scenario import Scenario, broken
from coatcheck.drill.stack.cluster import LEASE_SECONDS, Size
from coatcheck.drill.upstream.call_log import CallLog
from coatcheck.drill.verdict import growth
from coatcheck.drill.verdict.invariants import Observations, Verdict, judge
from coatcheck.drill.verdict.observations import remembered
from coatcheck.drill.verdict.statistics import Measured, by_kind, figures, recoveries


@dataclass(frozen=True)
class Report:
    """A drill that is over. `beyond` are figures of its own parts; it `took` so many seconds."""

    scenario: Scenario
    seed: int
    size: Size
    clients: Clients
    nemesis: Nemesis
    calls: CallLog
    everything: Observations
    history: growth.History
    beyond: Mapping[str, float]
    took: float

    @cached_property
    def verdict(self) -> Verdict:
        """What the evidence says, and what the figures and the processes say against the drill."""
        deaths = [] if self.scenario.deadly else self.nemesis.deaths
        return self._judged.with_more(
            [
                *self.clients.client_log.odd_lines(),
                *(f"died by itself: {death}" for death in deaths),
                *self.calls.violations,
                *(f"failed {count} times for another reason: {why}" for why, count in self._unforeseen().items()),
                *(f"bound {line}" for line in broken(self.scenario.bounds, self.figures)),
            ]
        )

    @cached_property
    def figures(self) -> dict[str, float]:
        measured = Measured(
            tickets=self.clients.tickets,
            client_log=self.clients.client_log,
            faults=self.nemesis.applied,
            first_calls=self.calls.first_calls,
            verdict=self._judged,
            deaths=len(self.nemesis.deaths),
            wanted=self.scenario.jobs,
        )
        return {
            **figures(measured),
            **self.beyond,
            **growth.growths(self.history),
            **growth.cpu_shares(self.history),
            "kept": self.everything.kept,
            "forgotten": len(self.clients.tickets) - len(self._evidence.tickets),
        }

    def lines(self) -> list[str]:
        v, bounds, faults = self.verdict, self.scenario.bounds, self.nemesis.applied
        recovered = self._recovered() if self.scenario.name != "mixed" or self._setup else {}
        return [
            f"{self.scenario.name}: {v.accepted:,} jobs, {_count(faults) or 'no faults'}, "
            f"seed {self.seed}, {self.took:.0f} s, {self._setup}leases of {LEASE_SECONDS:g} s",
            f"accepted {v.accepted}  ended {v.ended}  lost {v.lost}  stuck {v.stuck}  changed {v.changed}  "
            f"wrong {v.wrong}  doubled {v.doubled}  orphans {v.orphans}  "
            f"provider calls repeated {v.repeated_calls}  failed {v.failed}",
            f"accepted to ended: {self._times('result')}",
            *([f"accepted to called: {self._times('claim')}", *self._rates()] if bounds else []),
            *(
                f"after {sort}, {each['faults']:.0f} times: a job in and out again p50 {each['recovery_p50']:.1f} s, "
                f"p95 {each['recovery_p95']:.1f} s; longest pause in accepting {each['pause_max']:.1f} s"
                for sort, each in recovered.items()
            ),
            *growth.lines(growth.table(self.history)),
            *(f"bound {bound}: held" for bound in bounds if not any(str(bound) in line for line in v.violations)),
            *(f"VIOLATION {violation}" for violation in v.violations),
        ]

    def as_dict(self) -> dict[str, Any]:
        faults = sorted(self.nemesis.applied, key=lambda applied: applied.began)
        return {
            "scenario": self.scenario.name,
            "seed": self.seed,
            "setup": self._setup.strip(", "),
            "jobs": self.verdict.accepted,
            "faults": [
                f"{each.began - faults[0].began:.1f} s: {each.fault}, for {each.over - each.began:.1f} s"
                for each in faults
            ],
            "faults_by_kind": dict(Counter(each.sort for each in self.nemesis.applied)),
            "recovery_by_kind": self._recovered(),
            "seconds": round(self.took, 1),
            "bounds": [str(bound) for bound in self.scenario.bounds],
            "figures": self.figures,
            **({"vitals": growth.table(self.history)} if self.history else {}),
            **self.verdict.as_dict(),
        }

    @property
    def _setup(self) -> str:
        return f"{self.size.databases} databases, {self.size.brokers} brokers, " if self.size.databases > 1 else ""

    @cached_property
    def _evidence(self) -> Observations:
        if not self.scenario.forgets:
            return self.everything
        return remembered(self.everything, max(each.mended for each in self.nemesis.applied))

    @cached_property
    def _judged(self) -> Verdict:
        return judge(self._evidence)

    def _unforeseen(self) -> dict[str, int]:
        """Reasons why jobs failed that the scenario does not name, if it names any."""
        known, reasons = self.scenario.reasons or ("",), self.clients.client_log.reasons
        return {why: count for why, count in reasons.items() if not any(each in why for each in known)}

    def _recovered(self) -> dict[str, dict[str, float]]:
        return by_kind(recoveries(self.clients.tickets, self.nemesis.applied))

    def _times(self, name: str) -> str:
        if f"{name}_p50" not in self.figures:
            return "too few to say"
        p50, p95, p99, longest = (self.figures[f"{name}_{cut}"] for cut in ("p50", "p95", "p99", "max"))
        return f"p50 {p50:.2f} s, p95 {p95:.2f} s, p99 {p99:.2f} s, longest {longest:.1f} s"

    def _rates(self) -> list[str]:
        f = self.figures
        periods = ("before", "during", "after")
        rates = [f"{f[f'accepted_{when}']:.1f} {when}" for when in periods if f"accepted_{when}" in f]
        refused = f"refused {f['refusals']:.0f}, the slowest after {f['refusal_max']:.2f} s"
        return [f"accepted a second: {', '.join(rates)} the faults; {refused}"] if rates else []


def _count(faults: Sequence[Applied]) -> str:
    kinds = Counter((each.fault.component, each.fault.kind) for each in faults)
    return ", ".join(f"{count} x {kind} {component}" for (component, kind), count in sorted(kinds.items()))
