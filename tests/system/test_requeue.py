"""`coatcheck dead requeue` tells the workers; when no broker answers, it says so and goes on."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from kafka import KafkaConsumer, TopicPartition

from coatcheck.dev.broker import Broker
from coatcheck.dev.ports import free_ports
from shared.domain.job import Finish, Status
from shared.domain.target import Target
from shared.kafka.connection import API_VERSION
from shared.kafka.notification import decode_notification
from shared.mongo.connection.client import Database
from shared.mongo.mongo_store import MongoStore
from shared.settings.table import Settings
from tests.support.jobs import new_job
from tests.support.servers.brokers import broker_under_test
from tests.support.servers.mongod import MongodSet
from tests.system.test_commands import answer, command

SECONDS = 60


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker."""
    with broker_under_test(tmp_path_factory.mktemp("broker")) as broker:
        yield broker.bootstrap


@pytest.fixture
def environ(mongod: MongodSet, settings: Settings, kafka: str) -> dict[str, str]:
    """The environment of commands that find database and broker."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COATCHECK_")}
    return kept | {
        "COATCHECK_MONGODB_URI": mongod.uri,
        "COATCHECK_MONGODB_DATABASE": settings.mongodb_database,
        "COATCHECK_KAFKA_BOOTSTRAP_SERVERS": kafka,
        "COATCHECK_KAFKA_TOPIC_PREFIX": settings.mongodb_database,
        **Broker.settings,
    }


async def fail(database: Database, settings: Settings, provider: str = "openai") -> UUID:
    """Make a job that has failed."""
    store = MongoStore(database, settings)
    job = new_job(store.now() - timedelta(seconds=1), targets=(Target(provider, "m"),))
    await store.submit([(job, None)])
    (claimed,) = await store.claim([job.id], lease=uuid4(), worker="worker-1", suspects=False)
    finish = Finish(job.id, claimed.lease, Status.FAILED, 500, b'{"error":{"message":"once"}}', 3600, ())
    assert await store.record([finish]) == [True]
    return job.id


@pytest.fixture
async def failed(database: Database, settings: Settings) -> UUID:
    """A job that has failed."""
    return await fail(database, settings)


def heard(kafka: str, topic: str) -> UUID:
    """The only id in the first notification of a topic."""
    consumer = KafkaConsumer(
        bootstrap_servers=kafka, api_version=API_VERSION, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    try:
        consumer.assign([TopicPartition(topic, 0), TopicPartition(topic, 1)])
        deadline = time.monotonic() + SECONDS
        while not (records := consumer.poll(timeout_ms=200)):
            assert time.monotonic() < deadline, "no notification was notified"
        ((record,),) = records.values()
        (job_id,) = decode_notification(record.value)
        return job_id
    finally:
        consumer.close()


def test_a_notification_rings_for_the_copy(environ: dict[str, str], failed: UUID, kafka: str) -> None:
    made = command(environ, "init", "--wait", "30")
    assert made.returncode == 0, made.stderr
    copy = answer(environ, "dead", "requeue", str(failed))
    assert copy["copy_of"] == str(failed)
    topic = f"{environ['COATCHECK_KAFKA_TOPIC_PREFIX']}.embeddings"
    assert heard(kafka, topic) == UUID(copy["id"])


def test_without_a_broker_the_copy_is_made_all_the_same(environ: dict[str, str], failed: UUID) -> None:
    environ["COATCHECK_KAFKA_BOOTSTRAP_SERVERS"] = f"127.0.0.1:{free_ports(1)[0]}"
    ran = command(environ, "dead", "requeue", str(failed))
    assert ran.returncode == 0, ran.stderr
    assert "jobs still start, a second or two late" in ran.stderr
    assert answer(environ, "job", ran.stdout.strip())["status"] == "pending"


async def run(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command beside this test's own connection, which must not stand still for so long."""
    return await asyncio.to_thread(command, environ, *arguments)


async def test_failed_jobs_of_a_provider_are_requeued_once_after_a_count_and_a_yes(
    environ: dict[str, str], database: Database, settings: Settings
) -> None:
    environ["COATCHECK_KAFKA_BOOTSTRAP_SERVERS"] = f"127.0.0.1:{free_ports(1)[0]}"
    made = await run(environ, "init")
    assert "indexes  ok" in made.stdout
    wanted = [await fail(database, settings) for _ in range(3)]
    other = await fail(database, settings, "groq")
    choice = ("dead", "requeue", "--provider", "openai", "--status-code", "500", "--since", "1h")

    unasked = await run(environ, *choice)
    assert unasked.returncode == 1
    assert "3 failed jobs match; submit all of them once more?" in unasked.stderr
    assert "nothing was requeued; --yes does it without asking" in unasked.stderr
    assert await database.jobs.count_documents({}) == 4

    some = await run(environ, *choice, "--limit", "2", "--yes")
    assert "3 failed jobs match; submitting the 2 that failed first once more" in some.stderr
    rest = await run(environ, *choice, "--yes", "--json")
    assert (some.returncode, rest.returncode) == (0, 0), rest.stderr
    assert json.loads(rest.stdout)["copy_of"] == str(wanted[2])
    copies = {*some.stdout.split(), json.loads(rest.stdout)["id"]}
    told = [await run(environ, "job", str(job_id), "--json") for job_id in [*wanted, other]]
    assert [json.loads(each.stdout).get("requeued_as") in copies for each in told] == [True, True, True, False]

    again = await run(environ, *choice, "--yes")
    assert again.returncode == 1
    assert "no failed job matches that was not requeued" in again.stderr


def test_a_requeue_names_jobs_or_chooses_them(environ: dict[str, str], failed: UUID) -> None:
    for arguments in ([], [str(failed), "--provider", "openai"]):
        ran = command(environ, "dead", "requeue", *arguments)
        assert ran.returncode == 2
        assert "name jobs by their ids, or all that --provider" in ran.stderr
