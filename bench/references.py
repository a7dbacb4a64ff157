"""What the machine can do at most, measured in the same run: every figure of the table is read against these.

`python -m bench.references NAME ...` runs one of them in a process of its own and prints a JSON line.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import platform
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic
from pymongo import AsyncMongoClient, WriteConcern

from bench.plain import unit
from shared.domain.content import Content
from shared.domain.ids import new_job_id
from shared.domain.job import NewJob
from shared.domain.target import Target
from shared.mongo.documents.codec import encode_new
from shared.providers.config import configured
from workers.provider_interface import Call
from workers.providers.openai.provider import OpenAIProvider

BATCH = 100
SECONDS = 2.0
TOPIC = "bench-raw"
BODY = b'{"model":"upstream/fast","input":"m-0 the cat sat on the mat"}'


def document() -> bytes:
    """A job as the product stores it."""
    now = datetime.datetime.now(datetime.UTC)
    return encode_new(new_job(now), None)


def new_job(now: datetime.datetime) -> NewJob:
    """A small embedding job."""
    return NewJob(
        id=new_job_id(),
        request_type="embedding",
        modality="embeddings",
        targets=(Target("upstream", "fast"),),
        content=Content("json", BODY, "application/json"),
        request_id="bench",
        created_at=now,
        deadline_at=now + datetime.timedelta(days=1),
        result_ttl=3600,
        forward=(),
        extra_params=False,
        key_id=None,
        fingerprint=None,
    )


async def insert_many(uri: str) -> dict[str, Any]:
    """Job documents per second into a collection without indexes: majority and journaled, two inserts at a time."""
    from bson.raw_bson import RawBSONDocument  # noqa: PLC0415 - needed here only

    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(uri)
    async with client:
        collection = client["bench"].get_collection("raw", write_concern=WriteConcern("majority", j=True))

        async def insert() -> int:
            await collection.insert_many([RawBSONDocument(document()) for _ in range(BATCH)])
            return BATCH

        return await _rate(insert, 2)


async def produce(bootstrap: str) -> dict[str, Any]:
    """Records of one notification per second, acknowledged by the broker."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic(TOPIC, num_partitions=1, replication_factor=1)])
    admin.close()
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=1, enable_idempotence=False)
    began, cpu, sent = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < SECONDS:
        futures = [producer.send(TOPIC, b"x" * 17) for _ in range(BATCH * 5)]
        for future in futures:
            future.get(10)
        sent += len(futures)
    seconds, used = time.perf_counter() - began, time.process_time() - cpu
    producer.close()
    return {"per_s": sent / seconds, "cpu_ms": used * 1000 / sent}


async def upstream_calls(url: str) -> dict[str, Any]:
    """Provider calls per second of one process, 500 at a time, through the workers' own provider class."""
    provider = OpenAIProvider(configured({"up": {"base_url": f"{url}/v1"}}, {})["up"])

    async def call() -> int:
        await provider.call(Call("embedding", "fast", Content("json", BODY), {}, False, 30.0, "job/1/0"))
        return 1

    measured = await _rate(call, 500)
    await provider.close()
    return measured


async def _rate(once: Callable[[], Awaitable[int]], at_a_time: int) -> dict[str, Any]:
    await asyncio.gather(*(once() for _ in range(at_a_time)))  # connections
    began, cpu, done = time.perf_counter(), time.process_time(), 0

    async def repeat() -> None:
        nonlocal done
        while time.perf_counter() - began < SECONDS:
            made = await once()
            done += made

    await asyncio.gather(*(repeat() for _ in range(at_a_time)))
    return {"per_s": done / (time.perf_counter() - began), "cpu_ms": (time.process_time() - cpu) * 1000 / done}


async def python(_: str) -> dict[str, Any]:
    """Plain Python, the piece of work that the regression guard counts in: some builds are half as fast as others."""
    began, cpu, done = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < SECONDS:
        unit()
        done += 1
    rate, used = done / (time.perf_counter() - began), time.process_time() - cpu
    return {
        "per_s": rate,
        "cpu_ms": used * 1000 / done,
        "build": f"{sys.version.split()[0]}, {platform.python_compiler()}",
    }


REFERENCES = {"insert_many": insert_many, "produce": produce, "upstream_calls": upstream_calls, "python": python}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(REFERENCES[sys.argv[1]](sys.argv[2]))))
