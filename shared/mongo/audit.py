"""What the database itself says about its jobs: their states, and how often each one ended. For drills and tests."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

from shared.mongo.client import Database, unavailable

_ENDED = ("completed", "failed")


async def statuses(database: Database) -> dict[UUID, str]:
    """The state of every stored job."""
    with unavailable("reading all jobs"):
        documents = await database.jobs.find({}, {"status": True}).to_list()
    return {document["_id"]: document["status"] for document in documents}


async def endings(database: Database) -> Counter[UUID]:
    """How often each job went to an ended state, from the replica set's log of changes.

    The log is bounded: for a drill on a fresh database it reaches back to the beginning.
    """
    oplog = database.client.get_database("local", codec_options=database.raw.codec_options)["oplog.rs"]
    changed = {"ns": f"{database.raw.name}.jobs", "op": "u"}
    wanted = {"o2._id": True, "o.diff.u.status": True, "o.status": True, "_id": False}
    counts: Counter[UUID] = Counter()
    with unavailable("reading the log of changes"):
        async for entry in oplog.find(changed, wanted):
            change = entry["o"]
            status = change.get("diff", {}).get("u", {}).get("status") or change.get("status")
            if status in _ENDED:
                counts[entry["o2"]["_id"]] += 1
    return counts
