"""Figures of a drill, from what clients saw, when faults came and when the provider was called. Pure; in seconds."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from coatcheck.drill.model.percentiles import spread
from coatcheck.drill.model.plan import Applied
from coatcheck.drill.model.ticket import NO_ANSWER, ClientLog, Ticket
from coatcheck.drill.verdict.invariants import Verdict

_AFTERMATH_SECONDS = 30.0
"""How long after a fault a pause in accepting still counts as its doing."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What figures are made from. `first_calls` is the Unix time of the provider's first call for each id."""

    tickets: Sequence[Ticket]
    client_log: ClientLog
    faults: Sequence[Applied]
    first_calls: Mapping[str, float]
    verdict: Verdict
    deaths: int
    wanted: int


@dataclass(frozen=True, slots=True)
class Recovery:
    """One fault: from its end until a job accepted after it had ended, and the longest pause in accepting."""

    fault: str
    ended_again: float
    longest_pause: float


def figures(m: Measured) -> dict[str, float]:
    begin = min((each.began for each in m.faults), default=0.0)
    end = max((each.mended for each in m.faults), default=0.0)
    survived = recoveries(m.tickets, m.faults)
    waits = [ticket.ended_at - ticket.accepted_at for ticket in m.tickets if ticket.ended_at]
    return {
        **spread("result", waits),
        **spread("claim", _claims(m, m.tickets)),
        **spread("claim_during", _claims(m, [t for t in m.tickets if begin <= t.accepted_at <= end])),
        **spread("claim_after", _claims(m, [t for t in m.tickets if 0 < end < t.accepted_at])),
        **spread("recovery", [each.ended_again for each in survived]),
        **({"pause_max": round(max(each.longest_pause for each in survived), 3)} if survived else {}),
        **_answers(m.client_log),
        **_rates(m.tickets, begin, end),
        **_throughput(m.tickets),
        "failed": m.verdict.failed,
        "unaccepted": m.wanted - m.verdict.accepted,
        "repeated_share": m.verdict.repeated_calls / max(1, m.verdict.accepted),
        "deaths": m.deaths,
    }


def recoveries(tickets: Sequence[Ticket], faults: Sequence[Applied]) -> list[Recovery]:
    done = sorted((t.accepted_at, t.ended_at) for t in tickets if t.ended_at)
    accepted = [at for at, _ in done]
    first_end_from: list[float] = [float("inf")] * (len(done) + 1)
    for position in reversed(range(len(done))):
        first_end_from[position] = min(first_end_from[position + 1], done[position][1])
    found = []
    for each in sorted(faults, key=lambda applied: applied.began):
        ended = first_end_from[bisect_left(accepted, each.over)]
        window = accepted[bisect_left(accepted, each.began) : bisect_left(accepted, each.mended + _AFTERMATH_SECONDS)]
        if ended != float("inf"):
            pause = max((b - a for a, b in zip([each.began, *window], window, strict=False)), default=0.0)
            found.append(Recovery(each.sort, ended - each.over, pause))
    return found


def by_kind(found: Iterable[Recovery]) -> dict[str, dict[str, float]]:
    """For each sort of fault: how many, p50 and p95 of the recovery, and of the longest pause in accepting."""
    sorts: dict[str, list[Recovery]] = defaultdict(list)
    for each in found:
        sorts[each.fault].append(each)
    return {
        sort: {
            "faults": len(each),
            **spread("recovery", [one.ended_again for one in each]),
            **spread("pause", [one.longest_pause for one in each]),
        }
        for sort, each in sorted(sorts.items())
    }


def _claims(m: Measured, tickets: Iterable[Ticket]) -> list[float]:
    return [
        max(0.0, m.first_calls[ticket.ids[0]] - ticket.accepted_unix)
        for ticket in tickets
        if ticket.ids and ticket.ids[0] in m.first_calls
    ]


def _answers(client_log: ClientLog) -> dict[str, float]:
    submits = client_log.submits
    answered = [took for status, took in submits if status != NO_ANSWER]
    refusals = [took for status, took in submits if status in (429, 503)]
    return {
        "submit_max": round(max(answered, default=0.0), 3),
        "refusals": len(refusals),
        "refusal_max": round(max(refusals, default=0.0), 3),
        "unanswered": len(submits) - len(answered),
        "errors": sum(status >= 400 for status, _ in submits)
        + sum(status >= 400 for status in client_log.polls.elements()),
    }


def _throughput(tickets: Sequence[Ticket]) -> dict[str, float]:
    """Jobs that ended a second, from the first accepted to the last end: the capacity, if there was more to do."""
    ended = [ticket for ticket in tickets if ticket.ended_at]
    took = max((t.ended_at for t in ended), default=0.0) - min((t.accepted_at for t in ended), default=0.0)
    return {"ended_per_second": round(len(ended) / took, 2)} if took else {}


def _rates(tickets: Sequence[Ticket], begin: float, end: float) -> dict[str, float]:
    """Accepted a second before the first fault, until the last was mended, and after; while there were submits."""
    accepted = sorted(ticket.accepted_at for ticket in tickets if ticket.ids)
    if len(accepted) < 2 or not end:
        return {}
    first, last = accepted[0], accepted[-1]
    rates = {}
    for name, since, until in (("before", first, begin), ("during", begin, min(end, last)), ("after", end, last)):
        if until - since > 0.5:
            count = bisect_left(accepted, until) - bisect_left(accepted, since)
            rates[f"accepted_{name}"] = round(count / (until - since), 2)
    if rates.get("accepted_before") and "accepted_during" in rates:
        rates["accepted_share"] = round(rates["accepted_during"] / rates["accepted_before"], 3)
    return rates
