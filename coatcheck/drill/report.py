"""What a drill says at its end: to a person in lines, to a program as one object. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from coatcheck.drill import growth
from coatcheck.drill.figures import Recovery, by_kind
from coatcheck.drill.plan import Applied
from coatcheck.drill.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict and what belongs beside it. `setup` says in a few words what was running."""

    scenario: str
    seed: int
    setup: str
    lease: float
    verdict: Verdict
    bounds: Sequence[str]
    faults: Sequence[Applied]
    recoveries: Sequence[Recovery]
    figures: Mapping[str, float]
    took: float
    vitals: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What each process held, as growth.table has it, if anybody looked."""

    def lines(self) -> list[str]:
        """For a terminal."""
        v = self.verdict
        return [
            f"{self.scenario}: {v.accepted:,} jobs, {_count(self.faults) or 'no faults'}, "
            f"seed {self.seed}, {self.took:.0f} s, {self.setup}leases of {self.lease:g} s",
            f"accepted {v.accepted}  ended {v.ended}  lost {v.lost}  stuck {v.stuck}  changed {v.changed}  "
            f"doubled {v.doubled}  provider calls repeated {v.repeated_calls}  failed {v.failed}",
            f"accepted to ended: {self._times('result')}",
            *([f"accepted to called: {self._times('claim')}"] if self.bounds else []),
            *self._rates(),
            *(
                f"after {sort}, {each['faults']:.0f} times: a job in and out again p50 {each['recovery_p50']:.1f} s, "
                f"p95 {each['recovery_p95']:.1f} s; longest pause in accepting {each['pause_max']:.1f} s"
                for sort, each in (by_kind(self.recoveries).items() if self.scenario != "mixed" or self.setup else ())
            ),
            *growth.lines(self.vitals),
            *(f"bound {bound}: held" for bound in self.bounds if not any(bound in line for line in v.violations)),
            *(f"VIOLATION {violation}" for violation in v.violations),
        ]

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        first = min((each.began for each in self.faults), default=0.0)
        return {
            "scenario": self.scenario,
            "seed": self.seed,
            "setup": self.setup.strip(", "),
            "jobs": self.verdict.accepted,
            "faults": [
                f"{each.began - first:.1f} s: {each.fault}, for {each.over - each.began:.1f} s"
                for each in sorted(self.faults, key=lambda applied: applied.began)
            ],
            "faults_by_kind": dict(Counter(f"{each.fault.kind} {each.fault.component}" for each in self.faults)),
            "recovery_by_kind": by_kind(self.recoveries),
            "seconds": round(self.took, 1),
            "bounds": list(self.bounds),
            "figures": dict(self.figures),
            **({"vitals": dict(self.vitals)} if self.vitals else {}),
            **self.verdict.as_dict(),
        }

    def _times(self, name: str) -> str:
        if f"{name}_p50" not in self.figures:
            return "too few to say"
        p50, p95, p99, longest = (self.figures[f"{name}_{cut}"] for cut in ("p50", "p95", "p99", "max"))
        return f"p50 {p50:.2f} s, p95 {p95:.2f} s, p99 {p99:.2f} s, longest {longest:.1f} s"

    def _rates(self) -> list[str]:
        rates = [
            f"{self.figures[f'accepted_{when}']:.1f} {when}"
            for when in ("before", "during", "after")
            if f"accepted_{when}" in self.figures
        ]
        if not self.bounds or not rates:
            return []
        refused = f"refused {self.figures['refusals']:.0f}, the slowest after {self.figures['refusal_max']:.2f} s"
        return [f"accepted a second: {', '.join(rates)} the faults; {refused}"]


def _count(faults: Sequence[Applied]) -> str:
    kinds = Counter((each.fault.component, each.fault.kind) for each in faults)
    return ", ".join(f"{count} x {kind} {component}" for (component, kind), count in sorted(kinds.items()))
