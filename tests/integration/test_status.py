"""The facts of the status page, on a real database."""

from __future__ import annotations

import asyncio
import json
import threading
from datetime import UTC, datetime, timedelta
from email.message import Message
from uuid import uuid4

import pytest
from prometheus_client import Gauge

from coatcheck.status import reader as reader_module
from coatcheck.status.facts import gather
from coatcheck.status.page import StatusPage
from coatcheck.status.reader import StatusReader
from shared.domain.catalogue import MODALITIES
from shared.domain.job import AttemptRecord, Finish, NewJob, Status
from shared.mongo.connection.client import Database
from shared.mongo.mongo_store import MongoStore
from shared.mongo.operator_store import OperatorStore
from shared.mongo.reports import MongoReportStore
from shared.settings.table import Settings
from shared.telemetry.metrics import OLDEST_DUE_AGE, OLDEST_PENDING_AGE
from shared.telemetry.process_report import Counts, Report, TimeBucket, bucket_of
from tests.support.jobs import new_job
from workers.reaper.service import Reaper

ERROR = b'{"is_bifrost_error":false,"status_code":400,"error":{"message":"no such model: \'the cat sat\'"}}'


@pytest.fixture
def store(database: Database, settings: Settings) -> MongoStore:
    return MongoStore(database, settings)


async def claimed(store: MongoStore, worker: str, source: str = "notified") -> NewJob:
    job = new_job(store.now() - timedelta(seconds=2))
    await store.submit([(job, None)])
    (held,) = await store.claim([job.id], lease=uuid4(), worker=worker, suspects=False, source=source)
    assert held.id == job.id
    return job


async def failed(store: MongoStore) -> NewJob:
    job = new_job(store.now() - timedelta(seconds=2))
    await store.submit([(job, None)])
    (held,) = await store.claim([job.id], lease=uuid4(), worker="w-1", suspects=False, source="swept")
    note = AttemptRecord("w-1", "openai", "400", 41)
    assert await store.record([Finish(job.id, held.lease, Status.FAILED, 400, ERROR, 60, (note,))]) == [True]
    return job


START = datetime(2026, 7, 25, 10, 0, 0, tzinfo=UTC)


def report(now_slot: int, process: str = "w-1") -> Report:
    history = (TimeBucket(now_slot - 3, {"embeddings": Counts(4, 3, 1, {"0.5": 4})}),)
    return Report(
        process=process, component="worker", version="9", started_at=START, serves=MODALITIES, slots=10,
        history=history,
    )  # fmt: skip


async def test_facts_tell_what_waits_who_runs_what_and_why_jobs_failed(
    store: MongoStore, database: Database, settings: Settings
) -> None:
    waiting = new_job(store.now() - timedelta(seconds=90))
    await store.submit([(waiting, None)])
    for _ in range(3):
        await claimed(store, "w-1")
    await claimed(store, "w-gone")
    jobs = [await failed(store) for _ in range(2)]
    await store.pause("openai", 30)
    await MongoReportStore(database).report(report(bucket_of(database.now())))
    facts = await gather(database, settings)
    by_name = {each.name: each for each in facts.modalities}
    shown = by_name[waiting.modality]
    assert (shown.pending, shown.processing) == (1, 4)
    assert 89 < shown.oldest_seconds < 120
    assert by_name["embeddings"].series.completed == 3
    here, gone = sorted(facts.processes, key=lambda process: process.name)
    assert (here.name, here.component, sum(here.holds.values()), here.slots) == ("w-1", "worker", 3, 10)
    assert (gone.name, gone.component, gone.seconds_ago) == ("w-gone", "", None)
    (cause,) = facts.causes
    assert (cause.count, cause.provider, cause.status_code) == (2, "openai", 400)
    assert cause.last_job in {str(job.id) for job in jobs}
    assert "cat" not in cause.words
    assert [pause.channel for pause in facts.paused] == ["openai"]
    said = " ".join(concern.says for concern in facts.concerns)
    assert "w-gone is silent and 1 jobs" in said
    assert "No reaper reports" in said


def reading(gauge: Gauge, modality: str) -> float:
    samples = [sample for each in gauge.collect() for sample in each.samples]
    return next(sample.value for sample in samples if modality in sample.labels.values())


async def test_jobs_of_a_paused_provider_wait_for_all_to_see(
    store: MongoStore, database: Database, settings: Settings
) -> None:
    """They are not due, so no worker is missing; but they wait, and for how long is told from their acceptance."""
    jobs = [new_job(store.now() - timedelta(minutes=15)) for _ in range(300)]
    await store.submit([(job, None) for job in jobs])
    await database.jobs.update_many({}, {"$set": {"wake_at": store.now() + timedelta(seconds=40)}})
    fresh = new_job(store.now())
    await store.submit([(fresh, None)])
    shown = next(each for each in (await gather(database, settings)).modalities if each.name == fresh.modality)
    assert shown.pending == 301
    assert 899 < shown.oldest_seconds < 960
    assert shown.due_seconds < 60
    await Reaper(store, max_pending=0).run_once()
    pending, due = (reading(gauge, fresh.modality) for gauge in (OLDEST_PENDING_AGE, OLDEST_DUE_AGE))
    assert pending > 899
    assert due < 60


async def test_a_report_replaces_the_one_before_and_those_of_a_newer_layout_are_left_out(
    database: Database,
) -> None:
    reports = MongoReportStore(database)
    now = bucket_of(database.now())
    await reports.report(report(now))
    await reports.report(report(now))
    await reports.report(report(now, "w-2"))
    await database.reports.update_one({"_id": "w-2"}, {"$set": {"body": b"\x01of the future"}})
    (seen,) = await reports.reports()
    assert seen.report == report(now)
    assert seen.seconds_ago < 5


async def test_failures_are_read_through_their_own_small_index(
    store: MongoStore, database: Database, settings: Settings
) -> None:
    await failed(store)
    await claimed(store, "w-1")
    query = {"status": "failed", "completed_at": {"$gt": database.now() - timedelta(hours=1)}}
    plan = await database.jobs.find(query).hint("failed").sort("completed_at", -1).explain()
    statistics = plan["executionStats"]
    assert (statistics["totalKeysExamined"], statistics["nReturned"]) == (1, 1)
    await database.jobs.drop_index("failed")
    facts = await gather(database, settings)
    assert facts.causes == []
    assert "coatcheck init" in facts.causes_problem, "an older installation shows everything else"


async def test_the_history_says_how_the_job_was_found_and_when_each_call_was_recorded(
    store: MongoStore, database: Database
) -> None:
    history = await OperatorStore(database).history((await failed(store)).id)
    assert history is not None
    assert history["last_claim"]["source"] == "swept"
    (attempt,) = history["attempts"]
    assert attempt["source"] == "swept"
    assert attempt["recorded"] == history["completed_at"]


async def test_many_viewers_cost_one_look(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    gather_once = gather

    async def counted(database: Database, settings: Settings) -> object:
        looks.append(threading.current_thread().name)
        return await gather_once(database, settings)

    monkeypatch.setattr(reader_module, "gather", counted)
    monkeypatch.setattr(reader_module, "FRESH_SECONDS", 60.0)
    reader = StatusReader(settings)
    try:
        facts = await asyncio.gather(*[asyncio.to_thread(reader.facts) for _ in range(6)])
        assert len(looks) == 1
        assert all(each is facts[0] for each in facts)
        assert looks == ["status"], "on a thread of its own"
    finally:
        await asyncio.to_thread(reader.close)


async def test_the_page_tells_a_job_from_the_database(
    store: MongoStore, database: Database, settings: Settings
) -> None:
    job = await failed(store)
    reader = StatusReader(settings)
    headers = Message()
    headers["Host"] = "localhost"
    try:
        answer = await asyncio.to_thread(StatusPage(settings, reader).answer, f"/status/job/{job.id}", headers)
        assert answer is not None
        told = json.loads(answer.body)
        kinds = [step["kind"] for step in told["timeline"]["steps"]]
        assert kinds == ["accepted", "waited", "claimed", "call", "recorded", "ended"]
        assert b"cat" not in answer.body
        missing = await asyncio.to_thread(StatusPage(settings, reader).answer, f"/status/job/{uuid4()}", headers)
        assert missing is not None
        assert missing.status == 404
    finally:
        await asyncio.to_thread(reader.close)
