"""A stored job that cannot be read costs nobody but itself: it is set aside, counted and shown, all others go on."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import bson
import msgspec
import pytest
from bson.binary import Binary
from bson.raw_bson import RawBSONDocument

from coatcheck.cli.operate import doctor
from shared.domain.errors import Unreadable
from shared.domain.job import AttemptRecord, ExpiredJob, ExpiryResult, Finish, NewJob, Status
from shared.domain.virtual_keys import hash_secret
from shared.mongo.connection.client import Database
from shared.mongo.documents import claim_rules
from shared.mongo.documents.codec import job_id_of
from shared.mongo.documents.unreadable import sorted_out
from shared.mongo.keys import KeyStore
from shared.mongo.mongo_store import MongoStore
from shared.mongo.operator_store import FailedJobs, OperatorStore
from shared.mongo.reports import MongoReportStore
from shared.settings.table import Settings
from shared.telemetry.metrics import JOBS_SET_ASIDE
from shared.telemetry.process_report import Report
from tests.support.jobs import eventually, new_job

FAR = datetime(9999, 12, 31, tzinfo=UTC)
DAMAGES: dict[str, dict[str, Any]] = {
    "no request": {"$unset": {"request": 1}},
    "a number for a body": {"$set": {"request.data": 10**12}},
    "no body": {"$set": {"request.data": None}},
    "a text for a count": {"$set": {"claims": "many"}},
    "a text for crashes": {"$set": {"crashes": "many"}},
    "a text for failures": {"$set": {"failures": "many"}},
    "a target that is not there": {"$set": {"target": 7}},
    "a text for a time to live": {"$set": {"result_ttl": "long"}},
    "a text for headers": {"$set": {"forward": "x-trace"}},
    "a text for fallbacks": {"$set": {"fallbacks": ["groq/m"]}},
    "a number for a model": {"$set": {"model": 5}},
    "no provider": {"$unset": {"provider": 1}},
    "an unknown type": {"$set": {"type": "video"}},
    "a list for a time": {"$set": {"created_at": []}},
}
UNSEEN = {"a list for a time"}
"""With these even a poll cannot be told what became of the job."""


@pytest.fixture
def store(database: Database, settings: Settings) -> MongoStore:
    return MongoStore(database, msgspec.structs.replace(settings, max_crashes=5))


def end_late(job: ExpiredJob) -> ExpiryResult:
    return ExpiryResult("deadline" if job.past_deadline else "crashes", 504, b'{"error":{}}')


async def submitted(store: MongoStore, count: int, **fields: Any) -> list[NewJob]:
    jobs = [new_job(store.now(), **fields) for _ in range(count)]
    await store.submit([(job, None) for job in jobs])
    return jobs


async def claim(store: MongoStore, jobs: list[NewJob], *, lease: Any = None) -> set[Any]:
    held = await store.claim([job.id for job in jobs], lease=lease or uuid4(), worker="w", suspects=False)
    return {job.id for job in held}


async def count_set_aside(action: Callable[[], Awaitable[Any]]) -> int:
    before = JOBS_SET_ASIDE._value.get()
    await action()
    return int(JOBS_SET_ASIDE._value.get() - before)


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "among others"])
@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_claimed_job_that_cannot_be_read_is_failed_and_its_neighbours_are_claimed(
    database: Database, store: MongoStore, damage: str, alone: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    jobs = await submitted(store, 1 if alone else 20)
    bad = min(jobs, key=lambda job: job.id)  # the database comes to it first
    await database.jobs.update_one({"_id": bad.id}, DAMAGES[damage])
    claimed: set[Any] = set()

    async def all_others() -> bool:
        nonlocal claimed
        claimed |= await claim(store, jobs)
        return claimed == {job.id for job in jobs} - {bad.id}

    async def claim_all() -> None:
        await claim(store, jobs)
        await eventually(all_others)

    assert await count_set_aside(claim_all) == 1
    assert "cannot be read" in caplog.text
    document = await database.jobs.find_one({"_id": bad.id})
    assert document is not None
    assert (document["status"], "wake_at" in document) == ("failed", False)
    assert document["expires_at"] > store.now(), "what was set aside goes in its time"
    view = (await store.collect([bad.id]))[bad.id]
    if damage in UNSEEN:
        assert view.problem
    else:
        assert (view.status, view.status_code) == (Status.FAILED, 500)
        assert isinstance(view.body, bytes)
        assert b"could not be read" in view.body


async def test_what_python_cannot_hold_costs_nobody_a_claim(database: Database, store: MongoStore) -> None:
    jobs = await submitted(store, 4)
    damaged = {
        0: ("request_id", b"\x02", b"\x04\x00\x00\x00\xff\xfe\xfd\x00"),
        1: ("created_at", b"\x09", b"\xff" * 7 + b"\x7f"),
    }
    for place, (name, kind, value) in damaged.items():
        raw = RawBSONDocument(_document(kind + name.encode() + b"\x00" + value))
        await database.jobs.update_one({"_id": jobs[place].id}, {"$set": raw})
    assert await claim(store, jobs) == {job.id for job in jobs}
    assert set(await store.collect([job.id for job in jobs])) == {job.id for job in jobs}


def _document(element: bytes) -> bytes:
    return (len(element) + 5).to_bytes(4, "little") + element + b"\x00"


async def test_ids_that_are_none_stand_in_nobodys_way_in_the_sweep_or_at_the_deadline(
    database: Database, store: MongoStore
) -> None:
    (job,) = await submitted(store, 1, deadline=60)
    document = await database.jobs.find_one({"_id": job.id})
    assert document is not None
    odd = ["text", 7, {"a": 1}, Binary(b"short", 4), Binary(b"x" * 16, 0)]
    past = {"wake_at": store.now() - timedelta(seconds=60)}
    await database.jobs.insert_many([{**document, **past, "_id": each} for each in odd])
    found = await eventually(lambda: store.due(["embeddings"], limit=4, takeover_after=0.0))
    assert [each.id for each in found] == [job.id]
    assert await claim(store, [job]) == {job.id}
    await database.jobs.update_many({}, {"$set": {"deadline_at": store.now() - timedelta(seconds=1)}})
    assert await store.expire(2, end_late) == {"deadline": 1}
    assert await database.jobs.count_documents({"status": "failed", "set_aside": True}) == len(odd)
    assert len(await OperatorStore(database).failed_jobs()) == len(odd) + 1


async def test_the_outcome_of_a_job_that_cannot_take_it_is_given_up_at_once(
    database: Database, store: MongoStore
) -> None:
    (job,) = await submitted(store, 1)
    (held,) = await store.claim([job.id], lease=uuid4(), worker="w", suspects=False)
    await database.jobs.update_one({"_id": job.id}, {"$set": {"crashes": [], "attempts": 5}})
    note = AttemptRecord("w", "openai", "ok", 12)
    outcome = await store.record([Finish(job.id, held.lease, Status.COMPLETED, 200, b"{}", 60, (note,))])
    assert outcome == [False]
    assert (await store.collect([job.id]))[job.id].status is Status.FAILED


LIVE_DAMAGES = {
    **{
        name: damage for name, damage in DAMAGES.items() if name not in ("no request", "a number for a body", "no body")
    },
    "no deadline": {"$unset": {"deadline_at": 1}},
    "a text for a deadline": {"$set": {"deadline_at": "tomorrow"}},
    "a deadline beyond all times": {"$set": {"deadline_at": bson.MaxKey()}},
    "an unknown state": {"$set": {"status": "weird"}},
    "no state": {"$unset": {"status": 1}},
    "an unknown modality": {"$set": {"modality": "video"}},
    "a text for a time to wake": {"$set": {"wake_at": "soon"}},
    "no end of waiting": {"$set": {"wake_at": FAR}},
    "no time to wake": {"$unset": {"wake_at": 1}},
    "nothing for a time to wake": {"$set": {"wake_at": None}},
    "no time to wake and no deadline": {"$unset": {"wake_at": 1, "deadline_at": 1}},
    "no time to wake and a text for a deadline": {"$set": {"deadline_at": "tomorrow"}, "$unset": {"wake_at": 1}},
}


@pytest.mark.parametrize("damage", LIVE_DAMAGES)
async def test_at_its_deadline_a_job_that_cannot_be_read_ends_and_so_do_all_others(
    database: Database, store: MongoStore, damage: str
) -> None:
    jobs = await submitted(store, 5, deadline=-1)
    await database.jobs.update_one({"_id": jobs[0].id}, LIVE_DAMAGES[damage])
    ended = await store.expire(2, end_late)
    assert ended["deadline"] >= 4
    assert await database.jobs.count_documents({"status": "failed", "wake_at": {"$exists": False}}) == 5
    assert await store.expire(2, end_late) == {}


async def test_the_reaper_leaves_layouts_newer_than_its_own_alone(
    database: Database, store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, crashed, strange, ours = await submitted(store, 4, deadline=-1)
    newer = [late.id, crashed.id, strange.id]
    await database.jobs.update_many({"_id": {"$in": newer}}, {"$set": {"v": 99}})
    await database.jobs.update_one(
        {"_id": crashed.id}, {"$set": {"crashes": 9, "status": "processing", "deadline_at": FAR}}
    )
    await database.jobs.update_one({"_id": strange.id}, {"$set": {"status": "dreaming"}, "$unset": {"deadline_at": 1}})
    before = await database.jobs.find({"v": 99}).sort("_id").to_list()
    assert await store.expire(100, end_late) == {"deadline": 1}
    assert await database.jobs.find({"v": 99}).sort("_id").to_list() == before
    assert (await store.collect([ours.id]))[ours.id].status is Status.FAILED

    monkeypatch.setattr(claim_rules, "DOCUMENT_VERSION", 99)
    assert await store.expire(100, end_late) == {"deadline": 1, "crashes": 1}
    assert await database.jobs.count_documents({"v": 99, "status": "failed"}) == 3, "a newer reaper ends its own"


@pytest.mark.parametrize("damage", [{"$unset": {"status": 1}}, {"$set": {"status": []}}, {"$set": {"status": 5}}])
async def test_a_job_without_a_state_keeps_no_reaper_from_counting_the_others(
    database: Database, store: MongoStore, damage: dict[str, Any]
) -> None:
    jobs = await submitted(store, 3)
    await database.jobs.update_one({"_id": jobs[0].id}, damage)
    counts = {(each.modality, each.status): each.count for each in await store.backlog()}
    assert counts[jobs[0].modality, "pending"] == 2


async def test_what_a_refusal_of_the_database_says_about_a_sound_job_sets_nothing_aside(
    database: Database, store: MongoStore
) -> None:
    jobs = await submitted(store, 3)
    assert await claim(store, jobs) == {job.id for job in jobs}

    async def look() -> None:
        assert not await store._aside.refused([job.id for job in jobs])

    assert await count_set_aside(look) == 0


async def test_operators_see_what_was_set_aside_and_all_the_rest(database: Database, store: MongoStore) -> None:
    jobs = await submitted(store, 3)
    operator = OperatorStore(database)
    assert await operator.set_aside() == 0
    await database.jobs.update_one({"_id": jobs[0].id}, {"$set": {"claims": "many"}, "$unset": {"model": 1}})
    await eventually(lambda: _nothing_left(store, jobs))
    assert await operator.set_aside() == 1
    (listed,) = await operator.failed_jobs()
    assert (listed["id"], listed["status_code"]) == (str(jobs[0].id), 500)
    assert "could not be read" in listed["error"]
    assert await operator.recent_failures(60, 10) == [listed]
    for question in (operator.history, operator.requeue):
        with pytest.raises(Unreadable, match=r"model|claims"):
            await question(jobs[0].id)
    history = await operator.history(jobs[1].id)
    assert history is not None
    await database.jobs.update_one({"_id": jobs[1].id}, {"$unset": {"lease": 1}})
    await database.jobs.update_one({"_id": jobs[2].id}, {"$set": {"lease.at": 5, "lease.worker": 5}})
    assert await operator.held(10) == []


async def _nothing_left(store: MongoStore, jobs: list[NewJob]) -> bool:
    await claim(store, jobs)
    return not await store.due(["embeddings"], limit=10, takeover_after=3600.0)


async def test_a_doctor_tells_of_what_was_set_aside(database: Database, store: MongoStore) -> None:
    operator = OperatorStore(database)
    assert doctor._documents(await operator.set_aside())[0].ok
    jobs = await submitted(store, 1)
    await database.jobs.update_one({"_id": jobs[0].id}, {"$set": {"claims": "many"}})
    await eventually(lambda: _nothing_left(store, jobs))
    (finding,) = doctor._documents(await operator.set_aside())
    assert not finding.ok
    assert finding.text.startswith("1 could not be read")


async def test_a_key_that_cannot_be_read_opens_nothing_and_hides_no_other(
    database: Database, store: MongoStore
) -> None:
    keys = KeyStore(database)
    (good, secret), (bad, other) = await keys.create("good"), await keys.create("bad", ["openai/m"])
    await database.keys.update_one({"_id": bad.id}, {"$set": {"models": "openai/m"}})
    assert [key.id for key in await keys.list()] == [good.id]
    found = await store.find_key(hash_secret(secret))
    assert found is not None
    assert await store.find_key(hash_secret(other)) is None


@pytest.mark.parametrize("odd", [{"a": {"b": [1]}}, 5, Binary(b"x", 0)], ids=str)
async def test_a_key_whose_id_is_none_hides_no_other(
    database: Database, odd: Any, caplog: pytest.LogCaptureFixture
) -> None:
    keys = KeyStore(database)
    good, _ = await keys.create("good")
    document = await database.keys.find_one({"_id": good.id})
    assert document is not None
    await database.keys.insert_one({**document, "_id": odd, "name": "odd", "hash": b"other"})
    assert [key.id for key in await keys.list()] == [good.id]
    assert "cannot be read, it opens nothing" in caplog.text


@pytest.mark.parametrize("odd", [{"a": {"b": [1]}}, "text", Binary(b"short", 4)], ids=str)
async def test_a_failed_job_whose_id_is_none_keeps_no_other_from_being_requeued(
    database: Database, store: MongoStore, odd: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (job,) = await submitted(store, 1, deadline=-1)
    assert await store.expire(10, end_late) == {"deadline": 1}
    document = await database.jobs.find_one({"_id": job.id})
    assert document is not None
    await database.jobs.insert_one({**document, "_id": odd})
    assert await OperatorStore(database).requeueable(FailedJobs(), 10) == (1, [job.id])
    assert "cannot be read, it is left alone: the id is no UUID" in caplog.text


def test_what_cannot_be_read_is_sorted_out_whatever_its_id_is() -> None:
    odd: list[Any] = [{"a": 1}, ["b"], None, {"a": 1}]
    sound = Binary(uuid4().bytes, 4)
    ids, problems = sorted_out([{"_id": each} for each in (*odd, sound)], job_id_of)
    assert [each.bytes for each in ids] == [bytes(sound)]
    assert [stored for stored, _ in problems] == odd


async def test_a_report_that_cannot_be_read_hides_no_other(database: Database) -> None:
    reports = MongoReportStore(database)
    soon = reports.now() + timedelta(seconds=60)
    broken: list[dict[str, Any]] = [{}, {"body": "text", "at": soon}, {"body": b"\xc1", "at": soon}]
    await database.reports.insert_many(
        [{"_id": str(place), "expires_at": soon, **each} for place, each in enumerate(broken)]
    )
    sound = Report(process="w", component="worker", version="1", started_at=soon, serves=(), slots=1, busy=0)
    await reports.report(sound)
    assert [seen.report.process for seen in await reports.reports()] == ["w"]


async def test_a_pause_that_cannot_be_read_pauses_nothing_and_hides_no_other(
    database: Database, store: MongoStore, caplog: pytest.LogCaptureFixture
) -> None:
    soon = store.now() + timedelta(seconds=60)
    odd: list[dict[str, Any]] = [
        {"_id": 5},
        {"_id": {"a": 1}},
        {"_id": "openai", "until": [soon]},
        {"_id": "cohere", "until": "soon"},
    ]
    await database.pauses.insert_many([{"until": soon, **each} for each in odd])
    await store.pause("groq", 30)
    for _ in range(3):
        assert [pause.channel for pause in await store.pauses()] == ["groq"]
    assert caplog.text.count("pause 5 cannot be read, it pauses nothing") == 1
    assert caplog.text.count("cannot be read") == 3


@pytest.mark.parametrize("odd", ["soon", bson.Timestamp(2**31, 1), None, bson.MaxKey()])
async def test_a_provider_whose_pause_cannot_be_read_is_paused_anew(
    database: Database, store: MongoStore, odd: Any
) -> None:
    await database.pauses.insert_one({"_id": "openai", "until": odd})
    await store.pause("openai", 30)
    assert [pause.channel for pause in await store.pauses()] == ["openai"]


async def test_what_a_requeue_says_of_a_job_that_was_set_aside(database: Database, store: MongoStore) -> None:
    (job,) = await submitted(store, 1)
    await database.jobs.update_one({"_id": job.id}, {"$unset": {"modality": 1}, "$set": {"status": "failed"}})
    said = (
        f"job {job.id} cannot be read \\(Object missing required field `modality`\\).*nothing.*copied.*submit it again"
    )
    with pytest.raises(Unreadable, match=said):
        await OperatorStore(database).requeue(job.id)
