"""`coatcheck dead requeue` tells the workers; when no broker answers, it says so and goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from kafka import KafkaConsumer, TopicPartition

from coatcheck.dev.broker import Broker
from coatcheck.dev.ports import free_ports
from shared.job import Finish, Status
from shared.kafka.bell import decode_bell
from shared.kafka.connection import API_VERSION
from shared.mongo.client import Database
from shared.mongo.store import MongoStore
from shared.settings import Settings
from tests.support.brokers import broker_under_test
from tests.support.jobs import new_job
from tests.support.mongod import MongodSet
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


@pytest.fixture
async def failed(database: Database, settings: Settings) -> UUID:
    """A job that has failed."""
    store = MongoStore(database, settings)
    job = new_job(store.now() - timedelta(seconds=1))
    await store.submit([(job, None)])
    (claimed,) = await store.claim([job.id], lease=uuid4(), worker="worker-1", suspects=False)
    finish = Finish(job.id, claimed.lease, Status.FAILED, 500, b'{"error":{"message":"once"}}', 3600, ())
    assert await store.record([finish]) == [True]
    return job.id


def heard(kafka: str, topic: str) -> UUID:
    """The only id in the first bell of a topic."""
    consumer = KafkaConsumer(
        bootstrap_servers=kafka, api_version=API_VERSION, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    try:
        consumer.assign([TopicPartition(topic, 0), TopicPartition(topic, 1)])
        deadline = time.monotonic() + SECONDS
        while not (records := consumer.poll(timeout_ms=200)):
            assert time.monotonic() < deadline, "no bell was rung"
        ((record,),) = records.values()
        (job_id,) = decode_bell(record.value)
        return job_id
    finally:
        consumer.close()


def test_a_bell_rings_for_the_copy(environ: dict[str, str], failed: UUID, kafka: str) -> None:
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
