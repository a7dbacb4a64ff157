"""What a verdict rests on, gathered from the clients, the provider, the database and a majority's stream of changes."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from uuid import UUID

from coatcheck.drill.call_log import CallLog
from coatcheck.drill.cluster import Cluster
from coatcheck.drill.load import Clients
from coatcheck.drill.verdict import TERMINAL, Evidence, Ticket
from shared.mongo.audit import statuses, watch_endings
from shared.mongo.client import connect
from shared.settings import Settings, load_settings

_WITNESS_SECONDS = 20.0
_EXPIRY_SLACK = 60.0
"""Seconds before its time is up that an ended job is no longer asked for: clients saw its end later than it was."""


async def watch_ends(cluster: Cluster, endings: Counter[UUID]) -> None:
    """Count the ends of all jobs, for ever."""
    async with connect(settings_of(cluster), role="operator", wait=30) as database:
        await watch_endings(database, endings)


async def gather(cluster: Cluster, clients: Clients, calls: CallLog, endings: Counter[UUID]) -> Evidence:
    """Ask everybody at the end. For a job whose time was up, what its client saw stands for what is stored."""
    gone = expired(clients.tickets, time.monotonic() - cluster.setup.keeps + _EXPIRY_SLACK)
    final = await clients.collect_again(gone)
    async with connect(settings_of(cluster), role="operator", wait=30) as database:
        stored = {str(job_id): status for job_id, status in (await statuses(database)).items()}
    give_up = time.monotonic() + _WITNESS_SECONDS
    while len(endings) < clients.ended and time.monotonic() < give_up:  # noqa: ASYNC110 - nothing tells when
        await asyncio.sleep(0.1)
    return Evidence(
        tickets=clients.tickets,
        final=final,
        stored={**gone, **stored},
        endings={str(job_id): count for job_id, count in endings.items()},
        calls=calls.by_marker(),
        kept=len(stored),
    )


def remembered(found: Evidence, since: float) -> Evidence:
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


def settings_of(cluster: Cluster) -> Settings:
    """The settings that the cluster's components have."""
    return load_settings(environ={k: v for k, v in cluster.environ.items() if k.startswith("COATCHECK_")})
