"""Collections and indexes: made by `coatcheck init`, idempotent; each index names the query it serves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shared.mongo.client import Database, unavailable
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Index:
    """One index. `serves` is the query that needs it."""

    collection: str
    name: str
    keys: tuple[tuple[str, int], ...]
    serves: str
    options: tuple[tuple[str, Any], ...] = ()


def _ttl(collection: str, field: str, serves: str) -> Index:
    return Index(collection, f"{field}_ttl", ((field, 1),), serves, (("expireAfterSeconds", 0),))


INDEXES = (
    _ttl("jobs", "expires_at", "deletes ended jobs when their time is up"),
    Index(
        "jobs",
        "due",
        (("modality", 1), ("status", 1), ("wake_at", 1), ("deadline_at", 1)),
        "the sweep, the overdue scan and the counts; holds live jobs only",
        (("partialFilterExpression", {"wake_at": {"$exists": True}}),),
    ),
    _ttl("payloads", "expires_at", "deletes chunks when their time is up"),
    Index("keys", "hash", (("hash", 1),), "finding a virtual key by its secret", (("unique", True),)),
    _ttl("pauses", "until", "forgets pauses that are over"),
    Index(
        "jobs",
        "failed",
        (("completed_at", 1),),
        "recent failures; holds failed jobs only",
        (("partialFilterExpression", {"status": "failed"}),),
    ),
    _ttl("reports", "expires_at", "forgets processes that are gone"),
)


async def ensure_indexes(database: Database) -> list[str]:
    """Create what is missing and return the names of what was made."""
    made = []
    with unavailable("creating indexes"):
        for index in INDEXES:
            collection = database.collection(index.collection)
            if index.name not in await collection.index_information():
                await collection.create_index(list(index.keys), name=index.name, **dict(index.options))
                made.append(f"{index.collection}.{index.name}")
    return made


async def check_indexes(database: Database) -> list[str]:
    """Say which indexes are missing or differ; empty when all is well. Writes nothing."""
    problems = []
    with unavailable("reading indexes"):
        for index in INDEXES:
            found = (await database.collection(index.collection).index_information()).get(index.name)
            if found is None:
                problems.append(
                    f"index {index.collection}.{index.name} is missing ({index.serves}): run `coatcheck init`"
                )
            elif list(found["key"]) != list(index.keys):
                problems.append(
                    f"index {index.collection}.{index.name} has other keys: drop it and run `coatcheck init`"
                )
    return problems


def needed_rights(settings: Settings) -> list[str]:
    """The database rights that each component needs, for `coatcheck init --print`."""
    name = settings.mongodb_database
    return [
        f"edge, worker, keeper: find, insert, update, remove on {name}.jobs, payloads, keys, pauses, meta, reports",
        f"init: createIndex, listIndexes, createCollection on {name}",
        f"doctor: what a component needs, and listIndexes on {name}",
        "everybody: the hello command (clock and replica set)",
    ]
