"""What a verdict rests on, gathered from the clients, the provider, the database and a majority's stream of changes."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from uuid import UUID

from coatcheck.drill.load.clients import Clients
from coatcheck.drill.model.requests import wrong_error, wrong_result
from coatcheck.drill.model.ticket import TERMINAL, Ticket
from coatcheck.drill.stack.cluster import Cluster
from coatcheck.drill.upstream.call_log import CallLog
from coatcheck.drill.verdict.invariants import Observations
from shared.domain.job import Status
from shared.mongo.audit import answers, contradictions, orphans, statuses, watch_endings
from shared.mongo.connection.client import Database, connect
from shared.mongo.setup import check_indexes

_WITNESS_SECONDS = 20.0
_SETTLE_SECONDS = 10.0
"""For so long what is stored may still be put in order: a chunk is written before its job, and deleted after it."""
_LEFT_BY_A_FAULT = 4
"""Chunks of large bodies that a killed or cut off process may leave without a job."""
_EXPIRY_SLACK = 60.0
"""Seconds before its time is up that an ended job is no longer asked for: clients saw its end later than it was."""


async def watch_ends(cluster: Cluster, endings: Counter[UUID]) -> None:
    async with connect(cluster.settings(), role="operator", wait=30) as database:
        await watch_endings(database, endings)


async def gather(
    cluster: Cluster, clients: Clients, calls: CallLog, endings: Counter[UUID], faults: int
) -> Observations:
    """Ask everybody at the end. For a job whose time was up, what its client saw stands for what is stored."""
    gone = expired(clients.tickets, time.monotonic() - cluster.setup.keeps + _EXPIRY_SLACK)
    final = await clients.collect_again(gone)
    async with connect(cluster.settings(), role="operator", wait=30) as database:
        stored = {str(job_id): status for job_id, status in (await statuses(database)).items()}
        wrong = await _wrong_answers(database, clients.tickets)
        loose = await _orphans(database, faults)
        unsound = [*await contradictions(database), *await check_indexes(database)]
    give_up = time.monotonic() + _WITNESS_SECONDS
    while len(endings) < clients.ended and time.monotonic() < give_up:  # noqa: ASYNC110 - nothing tells when
        await asyncio.sleep(0.1)
    return Observations(
        tickets=clients.tickets,
        final=final,
        stored={**gone, **stored},
        endings={str(job_id): count for job_id, count in endings.items()},
        calls=dict(calls.by_marker),
        kept=len(stored),
        wrong=wrong,
        orphans=loose,
        unsound=unsound,
    )


async def _wrong_answers(database: Database, tickets: Iterable[Ticket]) -> dict[str, str]:
    by_id = {job_id: ticket for ticket in tickets for job_id in ticket.ids}
    found = {}
    async for each, status, body in answers(database):
        ticket = by_id.get(str(each))
        if ticket is not None:
            completed = status is Status.COMPLETED
            what = wrong_result(ticket.carries, body) if completed else wrong_error(ticket.key, body)
            if what:
                found[str(each)] = what
    return found


async def _orphans(database: Database, faults: int) -> list[str]:
    """What is still an orphan when everything had time to settle. Each fault may leave a few, for a reaper to find."""
    give_up = time.monotonic() + _SETTLE_SECONDS
    while True:
        found = await orphans(database)
        loose = [*found.old, *found.young[faults * _LEFT_BY_A_FAULT :]]
        if not loose or time.monotonic() > give_up:
            return loose
        await asyncio.sleep(0.5)


def remembered(found: Observations, since: float) -> Observations:
    """The evidence without the jobs that were accepted before a moment: the databases were emptied until then."""
    return replace(found, tickets=[each for each in found.tickets if not 0 < each.accepted_at < since])


def expired(tickets: Iterable[Ticket], before: float) -> dict[str, str]:
    """The jobs that a client saw end before a moment, each with its status."""
    return {
        job_id: ticket.seen[-1][0]
        for ticket in tickets
        for job_id in ticket.ids
        if ticket.ended_at and ticket.ended_at < before and ticket.seen[-1][0] in TERMINAL
    }
