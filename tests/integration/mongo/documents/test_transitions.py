"""No move touches an ended job, whatever else the document holds: every move against many random ended documents."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from shared.domain.job import LIVE, ExpiryResult, Finish, Release, Status
from shared.mongo.connection.client import Database
from shared.mongo.documents import transitions

SEED = 20_260_711


def ended_document(rng: random.Random, lease: UUID) -> dict[str, Any]:
    """An ended job with any mixture of leftovers that a bug or an older version could have left."""
    moment = datetime.now(UTC)
    leftovers: dict[str, Any] = {
        "v": rng.choice([1, 0]),
        "lease": {"id": lease, "worker": "w"},
        "deadline_at": moment + timedelta(seconds=rng.choice([-60, 60])),
        "crashes": rng.choice([0, 3, 4, 9]),
        "wake_at": moment - timedelta(seconds=60),
        "releases": rng.choice([0, 50]),
        "request": {"data": b"x"},
    }
    kept = {name: value for name, value in leftovers.items() if rng.random() < 0.7}
    return {"_id": uuid4(), "status": rng.choice(["completed", "failed"]), "modality": "text", "result_ttl": 60, **kept}


def every_move(job_id: UUID, lease: UUID) -> list[transitions.Transition]:
    finish = Finish(job_id, lease, Status.FAILED, 500, b"{}", 60)
    release = Release(job_id, lease, 0.0, failures=1, target=0)
    return [
        transitions.claim([job_id], uuid4(), "w", 30, 5, suspects=False),
        transitions.claim([job_id], uuid4(), "w", 30, 5, suspects=True),
        transitions.renew([job_id], [lease], 30),
        transitions.finish([finish], [{"data": b"{}"}]),
        transitions.release([release]),
        transitions.expire(job_id, ExpiryResult("deadline", 504, b"{}"), 5, 60, {"data": b"{}"}),
        transitions.set_aside([job_id], {"data": b"{}"}),
        transitions.set_aside([job_id], {"data": b"{}"}, lease),
        *transitions.set_strays_aside({"data": b"{}"}),
    ]


async def test_no_move_changes_an_ended_job(database: Database) -> None:
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    leases = [uuid4() for _ in range(300)]
    documents = [ended_document(rng, lease) for lease in leases]
    await database.jobs.insert_many(documents)
    for document, lease in zip(documents, leases, strict=True):
        for move in every_move(document["_id"], lease):
            result = await database.jobs.update_many(move.filter, move.update)
            assert result.matched_count == 0, (move, document)


async def test_a_requeue_notes_the_copy_on_a_failed_job_and_changes_nothing_else(database: Database) -> None:
    rng = random.Random(SEED)
    documents = [ended_document(rng, uuid4()) for _ in range(50)]
    live = [{**document, "_id": uuid4(), "status": status} for document in documents for status in LIVE]
    await database.jobs.insert_many([*documents, *live])
    for before in [*documents, *live]:
        stored, copy = await database.jobs.find_one({"_id": before["_id"]}), uuid4()
        move = transitions.requeued(before["_id"], copy)
        await database.jobs.update_many(move.filter, move.update)
        assert stored is not None
        noted = {"requeued_as": copy} if before["status"] == "failed" else {}
        assert await database.jobs.find_one({"_id": before["_id"]}) == {**stored, **noted}


async def test_the_same_moves_do_change_a_live_job(database: Database) -> None:
    """The check above can fail: on a job that lives, claim, renew, release and finish all match."""
    job_id, lease = uuid4(), uuid4()
    due_at = datetime.now(UTC) - timedelta(seconds=1)
    await database.jobs.insert_one(
        {
            "_id": job_id,
            "v": 1,
            "status": "pending",
            "wake_at": due_at,
            "deadline_at": due_at + timedelta(hours=1),
            "result_ttl": 60,
        }
    )
    matched = []
    for move in (
        transitions.claim([job_id], lease, "w", 30, 5, suspects=False),
        transitions.renew([job_id], [lease], 30),
        transitions.finish([Finish(job_id, lease, Status.COMPLETED, 200, b"{}", 60)], [{"data": b"{}"}]),
    ):
        matched.append((await database.jobs.update_many(move.filter, move.update)).matched_count)
    assert matched == [1, 1, 1]
