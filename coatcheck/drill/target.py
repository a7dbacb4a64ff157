"""A drill of somebody's own installation: we load and watch, they do the killing. Clients alone are the witnesses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from coatcheck.drill.load.clients import Clients, Load, log_directory
from coatcheck.drill.load.http import HttpClient
from coatcheck.drill.model.requests import make_request
from coatcheck.drill.verdict.invariants import Observations, Verdict, judge
from coatcheck.drill.verdict.statistics import Measured, figures
from shared.domain.errors import CoatcheckError

UNSEEN = (
    "not seen from outside: calls that the provider got twice, an end that changed between two polls, the database's "
    "own log, chunks without a job; `coatcheck drill` without --target sees them"
)
UNTOLD = (
    "whose vector an answer holds cannot be told from this model's: only its id and request id were compared; a "
    "scripted model's can"
)
_SEEN = ("unaccepted", "failed", "refusals", "refusal_max", "unanswered", "submit_max", "errors")
_UNSEEN = ("calls", "repeated_calls", "orphans")
_TRIES_SECONDS = 10.0


class TargetRefuses(CoatcheckError):
    """The installation does not take the load at all; the message says how it answered."""


@dataclass(frozen=True, slots=True)
class TargetOptions:
    """What to load and how much. `model` may hold `{latency}`, if scripted. Stuck: longer than `patience`."""

    url: str
    key: str = field(default="", repr=False)
    model: str = "scripted/latency={latency}"
    jobs: int = 300
    seconds: float = 60.0
    seed: int = 7
    patience: float = 120.0
    directory: str = ""

    @property
    def told_apart(self) -> bool:
        return "=" in self.model

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.key}"),) if self.key else ()


@dataclass(frozen=True, slots=True)
class TargetReport:
    """What can be said from outside. `told_apart`: the results themselves were compared with what was asked."""

    url: str
    verdict: Verdict
    figures: Mapping[str, float]
    longest_pause: float
    took: float
    told_apart: bool

    def lines(self) -> list[str]:
        v, f = self.verdict, self.figures
        times = (
            f"accepted to seen ended: p50 {f['result_p50']:.2f} s, p95 {f['result_p95']:.2f} s, "
            f"longest {f['result_max']:.1f} s"
            if "result_p50" in f
            else ""
        )
        return [
            f"{self.url}: {v.accepted:,} jobs accepted in {self.took:.0f} s, {f['unaccepted']:.0f} never",
            f"ended {v.ended}  lost {v.lost}  stuck {v.stuck}  changed {v.changed}  wrong {v.wrong}  "
            f"doubled {v.doubled}  failed {v.failed}",
            *filter(None, [times]),
            f"refused with Retry-After {f['refusals']:.0f}, unanswered {f['unanswered']:.0f}, slowest answer to a "
            f"submit {f['submit_max']:.2f} s, longest pause in accepting {self.longest_pause:.1f} s",
            self._unseen,
            *(f"VIOLATION {violation}" for violation in v.violations),
        ]

    def as_dict(self) -> dict[str, Any]:
        return {
            "target": self.url,
            "seconds": round(self.took, 1),
            "longest_pause": round(self.longest_pause, 2),
            "figures": {name: value for name, value in self.figures.items() if name in _SEEN or name[:7] == "result_"},
            "unseen": self._unseen,
            **{name: value for name, value in self.verdict.as_dict().items() if name not in _UNSEEN},
        }

    @property
    def _unseen(self) -> str:
        return UNSEEN if self.told_apart else f"{UNSEEN}; {UNTOLD}"


async def drill_target(options: TargetOptions, say: Callable[[str], None]) -> TargetReport:
    """Load an installation and judge what came back. Raises TargetRefuses."""
    load = Load(
        jobs=options.jobs,
        seconds=options.seconds,
        models=(options.model,),
        told_apart=options.told_apart,
        headers=options.headers,
    )
    await _preflight(options)
    with log_directory(options.directory) as directory:
        clients = Clients([options.url], directory, load, options.seed)
        say(f"submitting {options.jobs} jobs over {options.seconds:g} s: break what you like")
        started = time.monotonic()
        progress = asyncio.create_task(clients.say_progress(say))
        try:
            await clients.run(options.patience)
            took = time.monotonic() - started
            final = await clients.collect_again()
        finally:
            progress.cancel()
            clients.close()
    return _report(options, clients, final, took)


async def _preflight(options: TargetOptions) -> None:
    """One job, so that a wrong key or model is said at once and not by every client for minutes."""
    api = HttpClient(options.url)
    request = make_request("embedding", options.model.format(latency=0), "of whoever asks first")
    give_up = time.monotonic() + _TRIES_SECONDS
    try:
        while True:
            try:
                answer = await api.request("POST", request.path, request.body, dict(options.headers))
            except OSError as error:
                why = f"no answer ({type(error).__name__})"
            else:
                if answer.good:
                    return
                why = f"{answer.status} {answer.body[:300].decode(errors='replace')}"
                if answer.status not in (429, 503):
                    raise TargetRefuses(f"{options.url} refuses the load: {why}")
            if time.monotonic() > give_up:
                raise TargetRefuses(f"{options.url} does not take the load: {why}")
            await asyncio.sleep(0.5)
    finally:
        api.close()


def _report(
    options: TargetOptions, clients: Clients, final: Mapping[str, tuple[str, str]], took: float
) -> TargetReport:
    stored = {job_id: status for job_id, (status, _) in final.items() if status != "missing"}
    observations = Observations(
        tickets=clients.tickets, final=final, stored=stored, endings=dict.fromkeys(stored, 1), calls={}
    )
    verdict = judge(observations).with_more(clients.client_log.odd_lines())
    measured = Measured(clients.tickets, clients.client_log, (), {}, verdict, deaths=0, wanted=options.jobs)
    accepted = sorted(ticket.accepted_at for ticket in clients.tickets if ticket.ids)
    pause = max((later - earlier for earlier, later in pairwise(accepted)), default=0.0)
    return TargetReport(options.url, verdict, figures(measured), pause, took, options.told_apart)
