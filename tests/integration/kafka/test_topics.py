"""Topics on a real broker."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from shared.domain.catalogue import MODALITIES
from shared.kafka import topics as module
from shared.kafka.topics import BrokersUnavailable, TopicRefused, check_topics, ensure_topics, topic_name
from shared.settings.table import Settings
from tests.support.servers.apache_kafka import ApacheKafka
from tests.support.servers.brokers import EmbeddedBroker

_numbers = itertools.count()


@pytest.fixture
def settings(broker: EmbeddedBroker | ApacheKafka) -> Settings:
    prefix = f"topics-{os.getpid()}-{next(_numbers)}"
    return Settings(kafka_bootstrap_servers=broker.bootstrap, kafka_topic_prefix=prefix, kafka_partitions=3)


def names(settings: Settings) -> tuple[str, ...]:
    return tuple(topic_name(settings, modality) for modality in MODALITIES)


def test_missing_topics_are_created_once(settings: Settings) -> None:
    assert check_topics(settings) == [f"topic {name} does not exist: run `coatcheck init`" for name in names(settings)]
    first = ensure_topics(settings)
    assert (first.created, first.existing) == (names(settings), ())
    second = ensure_topics(settings)
    assert (second.created, second.existing) == ((), names(settings))
    assert check_topics(settings) == []


def test_checking_creates_nothing(settings: Settings) -> None:
    assert len(check_topics(settings)) == len(check_topics(settings)) == len(MODALITIES)


def test_only_what_is_missing_is_created(settings: Settings) -> None:
    ensure_topics(settings, ["ocr"])
    report = ensure_topics(settings, ["text", "ocr"])
    assert report.created == (topic_name(settings, "text"),)
    assert report.existing == (topic_name(settings, "ocr"),)


def test_several_may_create_at_the_same_time(settings: Settings) -> None:
    with ThreadPoolExecutor(4) as pool:
        reports = [future.result() for future in [pool.submit(ensure_topics, settings) for _ in range(4)]]
    assert all({*report.created, *report.existing} == set(names(settings)) for report in reports)
    assert check_topics(settings) == []


def test_too_few_partitions_are_told_and_left_alone(settings: Settings) -> None:
    ensure_topics(settings, ["text"])
    wider = msgspec.structs.replace(settings, kafka_partitions=5)
    assert ensure_topics(wider, ["text"]).created == ()
    (problem,) = check_topics(wider, ["text"])
    assert "has 3 partitions, kafka_partitions asks for 5" in problem
    assert "--alter" in problem
    assert check_topics(msgspec.structs.replace(settings, kafka_partitions=2), ["text"]) == []


def test_a_name_that_no_topic_can_have_is_refused(settings: Settings) -> None:
    with pytest.raises((BrokersUnavailable, TopicRefused), match="InvalidTopic"):
        ensure_topics(msgspec.structs.replace(settings, kafka_topic_prefix="a b"))


def test_brokers_that_are_away_are_named_within_seconds(settings: Settings) -> None:
    away = msgspec.structs.replace(settings, kafka_bootstrap_servers="127.0.0.1:1,127.0.0.1:2")
    started = time.monotonic()
    with pytest.raises(BrokersUnavailable, match=r"127\.0\.0\.1:1, 127\.0\.0\.1:2 answered within 5 s"):
        ensure_topics(away)
    (problem,) = check_topics(away)
    assert "127.0.0.1:1" in problem
    assert "ECONNREFUSED" in problem
    assert time.monotonic() - started < 2 * module.ANSWER_SECONDS + 2


def test_a_frozen_broker_is_told_within_seconds_and_no_thread_stays(
    broker: EmbeddedBroker | ApacheKafka, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 1.0)
    threads = threading.active_count()
    os.kill(broker.pid(), signal.SIGSTOP)
    try:
        started = time.monotonic()
        with pytest.raises(BrokersUnavailable):
            ensure_topics(settings)
        took = time.monotonic() - started
    finally:
        os.kill(broker.pid(), signal.SIGCONT)
    assert took < 4
    assert threading.active_count() == threads
    ensure_topics(settings, ["text"])


def test_a_wrong_protocol_is_told_without_the_password(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    secured = msgspec.structs.replace(
        settings,
        kafka_security_protocol="SASL_PLAINTEXT",
        kafka_sasl_mechanism="SCRAM-SHA-256",
        kafka_sasl_username="coatcheck",
        kafka_sasl_password="hunter2hunter2",
    )
    (problem,) = check_topics(secured)
    assert "127.0.0.1" in problem
    assert "hunter2" not in problem + caplog.text
