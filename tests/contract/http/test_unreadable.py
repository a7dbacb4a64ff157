"""A stored job that cannot be read is a clear 5xx for whoever asks for it, and for nobody else."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from shared.mongo.connection.client import Database
from tests.support.http_api import Api

pytestmark = pytest.mark.usefixtures("database")
PATH = "/v1/async/embeddings"
BODY = {"model": "openai/text-embedding-3-small", "input": "the cat sat"}
DAMAGES: dict[str, dict[str, Any]] = {
    "a text for a status code": {"$set": {"status_code": "200"}},
    "no times": {"$unset": {"expires_at": 1, "completed_at": 1}},
    "no result": {"$unset": {"result": 1}},
    "a number for a result": {"$set": {"result.data": 10**12}},
    "an unknown status": {"$set": {"status": "dreaming"}},
    "no type": {"$unset": {"type": 1}},
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_polls_that_are_read_together_each_get_the_answer_of_their_own_job(
    mongo_api: Api, database: Database, damage: str
) -> None:
    ids = [(await mongo_api.client.post(PATH, json=BODY)).json()["id"] for _ in range(6)]
    for job_id in ids:
        await mongo_api.end(job_id)
    await database.jobs.update_one({"_id": UUID(ids[2])}, DAMAGES[damage])
    answers = await asyncio.gather(*(mongo_api.client.get(f"{PATH}/{job_id}") for job_id in ids))
    assert [answer.status_code for answer in answers] == [200, 200, 500, 200, 200, 200]
    assert "cannot be read" in answers[2].json()["error"]["message"]


@pytest.mark.parametrize("size", [10, 20_000], ids=["inline", "in chunks"])
async def test_a_repeated_submit_of_a_job_that_cannot_be_read_says_so_however_large_it_is(
    mongo_api: Api, database: Database, size: int
) -> None:
    body, headers = BODY | {"input": "x" * size}, {"Idempotency-Key": f"again-{size}"}
    job_id = (await mongo_api.client.post(PATH, json=body, headers=headers)).json()["id"]
    await mongo_api.end(job_id)
    await database.jobs.update_one({"_id": UUID(job_id)}, DAMAGES["no type"])
    answer = await mongo_api.client.post(PATH, json=body, headers=headers)
    assert answer.status_code == 500
    assert "cannot be read" in answer.json()["error"]["message"]
