"""Fills the product's database with documents as it stores them itself, faster than through the API."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import bson
from bson.binary import Binary, UuidRepresentation
from bson.codec_options import CodecOptions
from pymongo import AsyncMongoClient, WriteConcern

from bench.references import new_job
from shared.domain.ids import new_job_id
from shared.mongo.documents.codec import encode_new

DATABASE = "coatcheck"
BATCH = 2000
RESULT = (
    b'{"object":"list","model":"fast","data":[{"object":"embedding","index":0,"embedding":[0.125,0.125,0.125,0.125]}],'
    b'"usage":{"prompt_tokens":2,"total_tokens":2},"extra_fields":{"request_type":"embedding","provider":"upstream"}}'
)
_CODEC: CodecOptions[dict[str, Any]] = CodecOptions(uuid_representation=UuidRepresentation.STANDARD)


async def fill(uri: str, *, pending: int = 0, waiting: int = 0, completed: int = 0, expired: bool = False) -> None:
    """Insert jobs that are due, that wait for tomorrow, and that ended (an hour before they go, or `expired`)."""
    now = datetime.datetime.now(datetime.UTC)
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(uri, uuidRepresentation="standard")
    async with client:
        concern = WriteConcern(1)  # what is lost in a crash of a benchmark is not missed
        jobs = client[DATABASE].get_collection("jobs", write_concern=concern)
        for batch in _batches(_documents(now, pending, waiting, completed, expired)):
            await jobs.insert_many(batch, ordered=False)


async def admin_command(uri: str, command: dict[str, Any]) -> dict[str, Any]:
    """A command to the database server, such as setParameter."""
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(uri)
    async with client:
        answer: dict[str, Any] = await client.admin.command(command)
        return answer


def _documents(
    now: datetime.datetime, pending: int, waiting: int, completed: int, expired: bool
) -> Iterator[dict[str, Any]]:
    due = bson.decode(encode_new(new_job(now), None), _CODEC)
    later = due | {"wake_at": now + datetime.timedelta(hours=20), "failures": 1}
    for count, pattern in ((pending, due), (waiting, later), (completed, _completed(due, now, expired))):
        for _ in range(count):
            yield pattern | {"_id": new_job_id()}


def _completed(due: dict[str, Any], now: datetime.datetime, expired: bool) -> dict[str, Any]:
    ended = {name: value for name, value in due.items() if name not in ("wake_at", "request")}
    return ended | {
        "status": "completed",
        "status_code": 200,
        "completed_at": now,
        "expires_at": now + datetime.timedelta(hours=0 if expired else 1),
        "result": {"data": Binary(RESULT)},
        "claims": 1,
    }


def _batches(documents: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch = []
    for document in documents:
        batch.append(document)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
