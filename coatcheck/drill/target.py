"""A drill of somebody's own installation: we load and watch, they do the killing. Clients alone are the witnesses."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from coatcheck.drill.figures import Measured, figures
from coatcheck.drill.http import HttpClient
from coatcheck.drill.load import PATH, Clients, LoadOptions
from coatcheck.drill.verdict import Evidence, Verdict, judge
from shared.errors import CoatcheckError

UNSEEN = (
    "not seen from outside: calls that the provider got twice, an end that changed between two polls, the database's "
    "own log; `coatcheck drill` without --target sees them"
)
_PROGRESS_SECONDS = 2.0
_TRIES_SECONDS = 10.0

Say = Callable[[str], None]


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


@dataclass(frozen=True, slots=True)
class TargetReport:
    """What can be said from outside."""

    url: str
    verdict: Verdict
    figures: Mapping[str, float]
    longest_pause: float
    took: float

    def lines(self) -> list[str]:
        """For a terminal."""
        v, f = self.verdict, self.figures
        return [
            f"{self.url}: {v.accepted:,} jobs accepted in {self.took:.0f} s, {f['unaccepted']:.0f} never",
            f"ended {v.ended}  lost {v.lost}  stuck {v.stuck}  changed {v.changed}  doubled {v.doubled}  "
            f"failed {v.failed}",
            *(
                [f"accepted to seen ended: p50 {f['result_p50']:.2f} s, p95 {f['result_p95']:.2f} s, "
                 f"longest {f['result_max']:.1f} s"]
                if "result_p50" in f else []
            ),
            f"refused with Retry-After {f['refusals']:.0f}, unanswered {f['unanswered']:.0f}, slowest answer to a "
            f"submit {f['submit_max']:.2f} s, longest pause in accepting {self.longest_pause:.1f} s",
            UNSEEN,
            *(f"VIOLATION {violation}" for violation in v.violations),
        ]  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """For `--json`. Without what cannot be seen."""
        seen = {
            name: value for name, value in self.verdict.as_dict().items() if name not in ("calls", "repeated_calls")
        }
        return {
            "target": self.url,
            "seconds": round(self.took, 1),
            "longest_pause": round(self.longest_pause, 2),
            "figures": {name: value for name, value in self.figures.items() if name in _SEEN or name[:7] == "result_"},
            "unseen": UNSEEN,
            **seen,
        }


_SEEN = ("unaccepted", "failed", "refusals", "refusal_max", "unanswered", "submit_max", "errors")


async def drill_target(options: TargetOptions, say: Say) -> TargetReport:
    """Load an installation and judge what came back. Raises TargetRefuses."""
    with contextlib.ExitStack() as stack:
        directory = Path(options.directory or stack.enter_context(tempfile.TemporaryDirectory(prefix="drill-")))
        await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
        load = LoadOptions(
            jobs=options.jobs,
            seconds=options.seconds,
            seed=options.seed,
            models=(options.model,),
            headers=_headers(options),
        )
        await _preflight(options)
        clients = Clients([options.url], directory, load)
        say(f"submitting {options.jobs} jobs over {options.seconds:g} s: break what you like")
        started = time.monotonic()
        progress = asyncio.create_task(_progress(clients, options.jobs, started, say))
        try:
            await clients.run(options.seconds + options.patience)
            took = time.monotonic() - started
            final = await clients.collect_again()
        finally:
            progress.cancel()
            clients.close()
    return _report(options, clients, final, took)


def _headers(options: TargetOptions) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {options.key}"),) if options.key else ()


async def _preflight(options: TargetOptions) -> None:
    """One job, so that a wrong key or model is said at once and not by every client for minutes."""
    api = HttpClient(options.url)
    body = b'{"model":"%b","input":"is anybody there"}' % options.model.format(latency=0).encode()
    give_up = time.monotonic() + _TRIES_SECONDS
    try:
        while True:
            try:
                answer = await api.request("POST", PATH, body, dict(_headers(options)))
            except OSError as error:
                why = f"no answer ({type(error).__name__})"
            else:
                if answer.status in (200, 202):
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
    evidence = Evidence(
        tickets=clients.tickets,
        final=final,
        stored=stored,
        endings=dict.fromkeys(stored, 1),
        calls={},
    )
    odd = [f"odd answer, {count} times: {what}" for what, count in clients.sightings.odd.items()]
    verdict = judge(evidence).with_more(odd)
    measured = Measured(clients.tickets, clients.sightings, (), {}, verdict, deaths=0, wanted=options.jobs)
    accepted = sorted(ticket.accepted_at for ticket in clients.tickets if ticket.ids)
    pause = max((later - earlier for earlier, later in pairwise(accepted)), default=0.0)
    return TargetReport(options.url, verdict, figures(measured), pause, took)


async def _progress(clients: Clients, jobs: int, started: float, say: Say) -> None:
    while True:
        await asyncio.sleep(_PROGRESS_SECONDS)
        say(f"{time.monotonic() - started:5.1f} s  accepted {clients.accepted}/{jobs}  ended {clients.ended}")
