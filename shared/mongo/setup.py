"""Collections and indexes: made by `coatcheck init`, idempotent; each index names the query it serves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.mongo.connection.client import Database, unavailable
from shared.mongo.documents import claim_rules, payloads
from shared.settings.table import Settings


@dataclass(frozen=True, slots=True)
class Index:
    """One index. `serves` is the query that needs it."""

    collection: str
    name: str
    keys: list[tuple[str, int]]
    serves: str
    options: Mapping[str, Any] = field(default_factory=dict)


def _ascending(*fields: str) -> list[tuple[str, int]]:
    return [(each, 1) for each in fields]


def _ttl(collection: str, moment: str, serves: str) -> Index:
    return Index(collection, f"{moment}_ttl", _ascending(moment), serves, {"expireAfterSeconds": 0})


def _partial(name: str, fields: Sequence[str], serves: str, holds: Mapping[str, Any]) -> Index:
    return Index("jobs", name, _ascending(*fields), serves, {"partialFilterExpression": holds})


_LIVE = {"wake_at": {"$exists": True}}
_PLACE = ("modality", "status", "wake_at", "deadline_at")
_OF_CHUNKS = _ascending("written_at", "job", "lease", "_id")
INDEXES = (
    _ttl("jobs", "expires_at", "deletes ended jobs when their time is up"),
    _partial("deadline", ["deadline_at"], "finds what is overdue; holds live jobs only", _LIVE),
    _partial("unwakeable", ["deadline_at"], "finds damaged jobs that no other index holds", claim_rules.UNWAKEABLE),
    _partial("due", _PLACE, "the sweep and the counts; holds live jobs only", _LIVE),
    _partial("failed", ["completed_at"], "recent failures; holds failed jobs only", {"status": "failed"}),
    _ttl("payloads", "expires_at", "deletes chunks when their time is up"),
    Index("payloads", payloads.INDEX, _OF_CHUNKS, "finding chunks that no job points to, without reading them"),
    Index("keys", "hash", _ascending("hash"), "finding a virtual key by its secret", {"unique": True}),
    _ttl("pauses", "until", "forgets pauses that are over"),
    _ttl("reports", "expires_at", "forgets processes that are gone"),
)


async def ensure_indexes(database: Database) -> list[str]:
    """The names of those that were missing and are made."""
    made = []
    with unavailable("creating indexes"):
        for index in INDEXES:
            collection = database.collection(index.collection)
            if index.name not in await collection.index_information():
                await collection.create_index(index.keys, name=index.name, **index.options)
                made.append(f"{index.collection}.{index.name}")
    return made


async def check_indexes(database: Database) -> list[str]:
    """Which are missing or differ; empty when all is well. Writes nothing."""
    problems = []
    with unavailable("reading indexes"):
        for index in INDEXES:
            found = (await database.collection(index.collection).index_information()).get(index.name)
            name = f"index {index.collection}.{index.name}"
            if found is None:
                problems.append(f"{name} is missing ({index.serves}): run `coatcheck init`")
            elif list(found["key"]) != index.keys:
                problems.append(f"{name} has other keys: drop it and run `coatcheck init`")
    return problems


def needed_rights(settings: Settings) -> list[str]:
    """The database rights that each component needs, for `coatcheck init --print`."""
    name = settings.mongodb_database
    return [
        f"edge, worker, reaper: find, insert, update, remove on {name}.jobs, payloads, keys, pauses, meta, reports",
        f"init: createIndex, listIndexes, createCollection on {name}",
        f"doctor: what a component needs, and listIndexes on {name}",
        "everybody: the hello command (clock and replica set)",
    ]
