"""The bell topics and the workers' consumer group: their names, their creation, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kafka import KafkaAdminClient
from kafka.errors import KafkaError, KafkaTimeoutError, TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from shared.catalogue import MODALITIES
from shared.errors import CoatcheckError
from shared.kafka.connection import bootstrap_servers, connection_arguments, silence_client_logs
from shared.settings import Settings

ANSWER_SECONDS = 5.0
"""Time for connecting, and again for each question."""


class BrokersUnavailable(CoatcheckError):
    """No broker answered in time, or none would have us; the message names the servers."""


class TopicRefused(CoatcheckError):
    """The brokers did not create a topic; the message has their reason."""


@dataclass(frozen=True, slots=True)
class TopicReport:
    """Topics that `ensure_topics` made, and those it found."""

    created: tuple[str, ...]
    existing: tuple[str, ...]


def topic_name(settings: Settings, modality: str) -> str:
    """The topic on which the bells of one modality travel."""
    return f"{settings.kafka_topic_prefix}.{modality}"


def group_name(settings: Settings) -> str:
    """The one consumer group of all workers, whatever modalities each of them serves."""
    return f"{settings.kafka_group_prefix}.workers"


def ensure_topics(settings: Settings, modalities: Sequence[str] = MODALITIES) -> TopicReport:
    """Create what is missing and wait for its leaders. Never deletes or changes a topic. Blocks for seconds.

    Partitions are not added to an existing topic: that cannot be undone, so it is the operator's to do.
    Raises BrokersUnavailable, TopicRefused.
    """
    names = [topic_name(settings, modality) for modality in modalities]
    with _admin(settings) as admin:
        found = _describe(admin, names)
        missing = [name for name in names if name not in found]
        if missing:
            _create(admin, settings, missing)
            admin.wait_for_topics(missing, timeout_ms=int(ANSWER_SECONDS * 1000))
    return TopicReport(tuple(missing), tuple(name for name in names if name in found))


def check_topics(settings: Settings, modalities: Sequence[str] = MODALITIES) -> list[str]:
    """What keeps bells from ringing, one sentence each; empty when all is well. Changes nothing. Blocks for seconds."""
    names = [topic_name(settings, modality) for modality in modalities]
    try:
        with _admin(settings) as admin:
            found = _describe(admin, names)
    except BrokersUnavailable as error:
        return [str(error)]
    problems = []
    for name in names:
        if name not in found:
            problems.append(f"topic {name} does not exist: run `coatcheck init`")
        else:
            problems.extend(_topic_problems(name, found[name], settings.kafka_partitions))
    return problems


def planned_topics(settings: Settings, modalities: Sequence[str] = MODALITIES) -> list[str]:
    """The topics as `ensure_topics` would create them, one line each."""
    replicas = settings.kafka_replication_factor
    return [
        f"topic {topic_name(settings, modality)}: partitions {settings.kafka_partitions}, "
        f"replicas {'as the brokers have it' if replicas < 0 else replicas}, "
        f"retention {settings.kafka_retention_seconds} s"
        for modality in modalities
    ]


def needed_rights(settings: Settings) -> list[str]:
    """What each component must be allowed to do on the brokers, one line each."""
    topics = f"topics {settings.kafka_topic_prefix}.* (prefixed)"
    return [
        f"edge: Describe and Write on {topics}",
        # Whichever worker leads the group assigns the partitions of every topic that some worker serves.
        f"worker: Describe and Read on {topics}, all of them for each worker",
        f"worker: Read on group {group_name(settings)}",
        f"coatcheck init: Describe and Create on {topics}",
        f"coatcheck init --check: Describe on {topics}",
    ]


@contextmanager
def _admin(settings: Settings) -> Iterator[KafkaAdminClient]:
    """An admin client that is closed again. Every error of the library comes out as BrokersUnavailable."""
    silence_client_logs()
    servers = ", ".join(bootstrap_servers(settings))
    milliseconds = int(ANSWER_SECONDS * 1000)
    arguments = connection_arguments(settings)
    try:
        yield KafkaAdminClient(**arguments, bootstrap_timeout_ms=milliseconds, request_timeout_ms=milliseconds)
    except KafkaTimeoutError:
        raise BrokersUnavailable(
            f"no Kafka broker of {servers} answered within {ANSWER_SECONDS:.0f} s{arguments.why()}: is one up, is the "
            f"address right, do kafka_security_protocol {settings.kafka_security_protocol} and the SASL settings fit?"
        ) from None
    except (KafkaError, OSError) as error:
        reason = type(error).__name__
        raise BrokersUnavailable(f"the Kafka brokers {servers} refused: {reason}{arguments.why()}") from None
    finally:
        # The admin client's own close is not enough: it leaves the network thread running when connecting failed.
        if arguments.client is not None:
            arguments.client.close()


def _describe(admin: KafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The topics that exist, by name. Raises KafkaError, for one that we may not see too."""
    found = {}
    for topic in admin.describe_topics(list(names)):
        error = for_code(topic["error_code"])
        if error is UnknownTopicOrPartitionError:
            continue
        if topic["error_code"] and not error.retriable:
            raise error(topic["name"])
        found[topic["name"]] = topic
    return found


def _create(admin: KafkaAdminClient, settings: Settings, names: Sequence[str]) -> None:
    wanted = {
        "num_partitions": settings.kafka_partitions,
        "replication_factor": settings.kafka_replication_factor,
        "configs": {"retention.ms": str(settings.kafka_retention_seconds * 1000), "cleanup.policy": "delete"},
    }
    answer = admin.create_topics(dict.fromkeys(names, wanted), raise_errors=False)
    for topic in answer["topics"]:
        error = for_code(topic["error_code"])
        # Another `init` at the same time may have been first.
        if topic["error_code"] and error is not TopicAlreadyExistsError:
            reason = topic.get("error_message") or error.__name__
            raise TopicRefused(f"topic {topic['name']} was not created: {reason}")


def _topic_problems(name: str, topic: dict[str, Any], wanted: int) -> Iterator[str]:
    partitions = topic["partitions"]
    leaderless = [partition["partition_index"] for partition in partitions if partition["leader_id"] < 0]
    if leaderless:
        yield f"topic {name} has no leader for partitions {', '.join(map(str, sorted(leaderless)))}: is a broker away?"
    if len(partitions) < wanted:
        yield (
            f"topic {name} has {len(partitions)} partitions, kafka_partitions asks for {wanted}: "
            f"add some (`kafka-topics --alter --topic {name} --partitions {wanted}`) or lower the setting"
        )
