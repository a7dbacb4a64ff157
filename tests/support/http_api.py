"""The HTTP API under test: a client, and a hand on the store behind it to end jobs, make keys and let time pass."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID, uuid4

import httpx
import msgspec

from edge.app import EdgeServices, create_app
from edge.submit.backpressure import Backpressure
from shared.domain.job import ClaimedJob, Finish, Status
from shared.domain.store_interface import EdgeStore, ReaperStore, WorkerStore
from shared.mongo.connection.client import Database
from shared.mongo.keys import KeyStore
from shared.mongo.mongo_store import MongoStore
from shared.providers.config import ProviderConfig
from shared.settings.table import Settings
from tests.support.fakes.store import FakeStore
from tests.support.jobs import eventually

PROVIDERS = {
    "openai": ProviderConfig(name="openai", models=("gpt-4o-mini", "text-embedding-3-small")),
    "cohere": ProviderConfig(name="cohere", models=("rerank-english-v3.0",)),
    "elevenlabs": ProviderConfig(name="elevenlabs"),
}
RESULT = b'{"object":"list","data":[{"embedding":[0.1]}],"extra_fields":{"request_type":"embedding"}}'
ERROR = (
    b'{"is_bifrost_error":false,"status_code":429,"error":{"type":"rate_limit","code":"too_many",'
    b'"message":"upstream quota used up"},"extra_fields":{"provider":"openai"}}'
)


class Store(EdgeStore, WorkerStore, ReaperStore, Protocol):
    """All verbs."""


async def stored_chunks(store: Store) -> int:
    """How many chunks of large bodies lie in the store."""
    if isinstance(store, FakeStore):
        return sum(len(chunks) for chunks in store.payloads.values())
    assert isinstance(store, MongoStore)
    return await store._db.payloads.count_documents({})


class Keys(Protocol):
    """Makes and revokes virtual keys."""

    async def create(self, models: Sequence[str] = ()) -> tuple[str, str]:
        """Id and secret of a new key."""
        ...

    async def revoke(self, key_id: str) -> None: ...


@dataclass
class Notifications:
    """Remembers what was notified."""

    notified: list[UUID] = field(default_factory=list)

    def publish(self, modality: str, ids: Sequence[UUID]) -> None:
        self.notified.extend(ids)


@dataclass
class Seconds:
    """A monotonic clock that moves by hand: the age of remembered keys."""

    passed: float = 0.0

    def __call__(self) -> float:
        return self.passed


@dataclass
class Api:
    """One edge with everything behind it."""

    client: httpx.AsyncClient
    store: Store
    keys: Keys
    notifications: Notifications
    clock: Seconds
    backpressure: Backpressure

    async def submit(self, path: str, body: Any, **headers: str) -> httpx.Response:
        """POST a JSON body. Underscores in header names stand for dashes."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(path, content=content, headers=named)

    async def end(self, job_id: str, body: bytes = RESULT, *, status_code: int = 200, result_ttl: int = 3600) -> None:
        """Let a worker claim the job and end it: completed with 200, failed with anything else."""
        held = await self.claim(job_id)
        await self.finish(job_id, held.lease, body, status_code=status_code, result_ttl=result_ttl)

    async def finish(
        self, job_id: str, lease: UUID, body: bytes, *, status_code: int = 200, result_ttl: int = 3600
    ) -> None:
        """Let the worker that holds the job end it."""
        status = Status.COMPLETED if status_code == 200 else Status.FAILED
        finish = Finish(UUID(job_id), lease, status, status_code, body, result_ttl)
        assert await self.store.record([finish]) == [True]

    async def claim(self, job_id: str) -> ClaimedJob:
        """Let a worker claim the job."""
        (held,) = await eventually(lambda: self.store.claim([UUID(job_id)], lease=uuid4(), worker="w", suspects=False))
        return held

    async def held(self, submitted: httpx.Response) -> ClaimedJob:
        """The job of a submit's answer, as a worker gets it."""
        return await self.claim(submitted.json()["id"])


class FakeKeys:
    """Keys of the store in memory."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store

    async def create(self, models: Sequence[str] = ()) -> tuple[str, str]:
        secret = f"sk-bf-{uuid4().hex}"
        return self._store.add_key(secret, models=models).id, secret

    async def revoke(self, key_id: str) -> None:
        self._store.revoke_key(next(key for key in self._store.keys.values() if key.id == key_id))


class RealKeys:
    """Keys as the command line makes them."""

    def __init__(self, database: Database) -> None:
        self._keys = KeyStore(database)

    async def create(self, models: Sequence[str] = ()) -> tuple[str, str]:
        key, secret = await self._keys.create(f"key {uuid4().hex}", models)
        return key.id, secret

    async def revoke(self, key_id: str) -> None:
        assert await self._keys.revoke(key_id) is not None


@asynccontextmanager
async def serve_in_process(store: FakeStore | MongoStore, keys: Keys, settings: Settings) -> AsyncIterator[Api]:
    """The application on a store, called without a network."""
    notifications, clock, backpressure = Notifications(), Seconds(), Backpressure()
    app = create_app(EdgeServices(settings, store, notifications, PROVIDERS, clock, backpressure))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://edge") as client:
        yield Api(client, store, keys, notifications, clock, backpressure)


def quick(settings: Settings, **changes: Any) -> Settings:
    """Settings for tests: keyless callers allowed, short waits."""
    return msgspec.structs.replace(settings, **({"allow_anonymous": True, "sync_wait_seconds": 0.2} | changes))
