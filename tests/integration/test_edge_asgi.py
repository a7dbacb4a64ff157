"""The edge as a server process starts it: on a real database, with no broker, and with no database at all."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from edge.asgi import Edge
from edge.ingress.cors import RefusalOrigins
from shared.mongo.connection.client import Database
from shared.settings.table import Settings
from tests.support.jobs import eventually
from tests.support.requests import EMBEDDING, EMBEDDINGS
from tests.support.servers.mongod import MongodSet

NO_BROKER = {"kafka_bootstrap_servers": "127.0.0.1:1", "allow_anonymous": True}


class Lifespan:
    """A server's side of ASGI's lifespan."""

    def __init__(self, app: Edge) -> None:
        self.state: dict[str, Any] = {}
        self._orders: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._answers: asyncio.Queue[Any] = asyncio.Queue()
        self._task = asyncio.ensure_future(
            app({"type": "lifespan", "state": self.state}, self._orders.get, self._answers.put)
        )

    async def order(self, what: str) -> Any:
        await self._orders.put({"type": f"lifespan.{what}"})
        return await asyncio.wait_for(self._answers.get(), 20)

    async def end(self) -> None:
        await asyncio.wait_for(self._task, 5)


@asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = Edge(msgspec.structs.replace(settings, **NO_BROKER), {"OPENAI_API_KEY": "sk-test"})
    lifespan = Lifespan(app)
    assert (await lifespan.order("startup"))["type"] == "lifespan.startup.complete"
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://edge") as client:
        yield client
    assert (await lifespan.order("shutdown"))["type"] == "lifespan.shutdown.complete"
    await lifespan.end()


async def test_without_a_broker_jobs_are_taken_and_found_again_by_the_next_process(
    settings: Settings, database: Database
) -> None:
    async with started(settings) as client:
        assert (await client.get("/readyz")).status_code == 200
        answers = await asyncio.gather(*[client.post(EMBEDDINGS, json=EMBEDDING) for _ in range(50)])
        assert {answer.status_code for answer in answers} == {202}
        listed = (await client.get("/v1/models")).json()
        assert listed == {"object": "list", "data": []}
    assert await database.jobs.count_documents({}) == 50
    async with started(settings) as client:
        polls = await asyncio.gather(*[client.get(answer.headers["location"]) for answer in answers])
        assert {poll.json()["status"] for poll in polls} == {"pending"}


async def test_a_job_accepted_while_its_client_hangs_up_is_stored_before_the_process_stops(
    settings: Settings, database: Database
) -> None:
    async with started(settings) as client:
        body = EMBEDDING | {"input": "x" * 1_000_000}
        calls = [asyncio.create_task(client.post(EMBEDDINGS, json=body)) for _ in range(5)]
        await eventually(lambda: database.payloads.count_documents({}))
        for call in calls:
            call.cancel()
    jobs = await database.jobs.count_documents({})
    assert jobs == await database.payloads.count_documents({})


# The driver leaves the socket of a refused connection to the garbage collector, which says so wherever it runs.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
async def test_an_edge_without_a_database_is_alive_but_not_ready_until_there_is_one(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mongod = MongodSet(tmp_path)
    uri = mongod.uri.replace("mongodb://", "mongodb://user:secret-word@") + "&authMechanism=PLAIN"
    away = msgspec.structs.replace(settings, mongodb_uri=uri, mongodb_timeout_seconds=0.5)
    with caplog.at_level("INFO"):
        async with started(away) as client:
            assert (await client.get("/livez")).status_code == 200
            assert (await client.get("/readyz")).status_code == 503
            assert (await client.post(EMBEDDINGS, json=EMBEDDING)).status_code == 503
            assert "waiting for MongoDB" in caplog.text
            assert "check mongodb_uri" in caplog.text
    assert "secret-word" not in caplog.text
    caplog.clear()
    there_later = msgspec.structs.replace(settings, mongodb_uri=mongod.uri, mongodb_timeout_seconds=0.5)
    with caplog.at_level("INFO"):
        async with started(there_later) as client:
            assert (await client.get("/readyz")).status_code == 503
            try:
                await asyncio.to_thread(mongod.start)

                async def ready() -> bool:
                    return (await client.get("/readyz")).status_code == 200

                await eventually(ready, within=30)
                assert (await client.post(EMBEDDINGS, json=EMBEDDING)).status_code == 202
                assert "MongoDB is there" in caplog.text
            finally:
                await asyncio.to_thread(mongod.stop)
    gc.collect()


async def test_a_server_knows_from_a_started_edge_which_origins_may_read_its_refusals(settings: Settings) -> None:
    origin = "https://app.example"
    lifespan = Lifespan(Edge(msgspec.structs.replace(settings, cors_origins=(origin,), **NO_BROKER), {}))
    await lifespan.order("startup")
    headers = RefusalOrigins.published(lifespan.state).headers([origin.encode()])
    assert (b"access-control-allow-origin", origin.encode()) in headers
    await lifespan.order("shutdown")
    await lifespan.end()


async def test_a_start_with_a_wrong_provider_fails_in_words(settings: Settings) -> None:
    wrong = msgspec.structs.replace(settings, providers={"vllm": {"base_ulr": "http://x"}}, **NO_BROKER)
    lifespan = Lifespan(Edge(wrong, {}))
    answer = await lifespan.order("startup")
    assert answer["type"] == "lifespan.startup.failed"
    assert "base_ulr" in answer["message"]
    await lifespan.end()
