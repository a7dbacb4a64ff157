"""The notification topics and the consumer group of the workers: names, creation, checks."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from kafka import KafkaAdminClient
from kafka.errors import KafkaError, KafkaTimeoutError, TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from shared.domain.catalogue import MODALITIES
from shared.domain.errors import CoatcheckError
from shared.kafka.connection import bootstrap_servers, connection_arguments
from shared.settings.table import Settings

ANSWER_SECONDS = 5.0
"""Time-out for connecting, and for each request."""
_PROBE_SECONDS = 1.0


class BrokersUnavailable(CoatcheckError):
    """No broker answered in time, or all refused; the message names the servers."""


class TopicRefused(CoatcheckError):
    """The brokers did not create a topic; the message says why."""


class TopicReport(NamedTuple):
    created: tuple[str, ...]
    existing: tuple[str, ...]


def topic_name(settings: Settings, modality: str) -> str:
    return f"{settings.kafka_topic_prefix}.{modality}"


def group_name(settings: Settings) -> str:
    return f"{settings.kafka_group_prefix}.workers"


def ensure_topics(settings: Settings, modalities: Sequence[str] = MODALITIES) -> TopicReport:
    """Creates missing topics. Blocks for seconds. Raises BrokersUnavailable, TopicRefused.

    Never changes an existing topic: added partitions cannot be taken away.
    """
    names = [topic_name(settings, modality) for modality in modalities]
    with _admin(settings, ANSWER_SECONDS) as admin:
        found = _describe(admin, names)
        missing = [name for name in names if name not in found]
        if missing:
            _create(admin, settings, missing)
            admin.wait_for_topics(missing, timeout_ms=int(ANSWER_SECONDS * 1000))
    return TopicReport(tuple(missing), tuple(name for name in names if name in found))


def check_topics(settings: Settings, modalities: Sequence[str] = MODALITIES) -> list[str]:
    """Why notifications cannot be published, one sentence each. Changes nothing. Blocks for seconds."""
    names = [topic_name(settings, modality) for modality in modalities]
    try:
        with _admin(settings, ANSWER_SECONDS) as admin:
            found = _describe(admin, names)
    except BrokersUnavailable as error:
        return [str(error)]
    return [problem for name in names for problem in _problems(name, found.get(name), settings.kafka_partitions)]


def delete_topic(settings: Settings, modality: str) -> None:
    """For drills and tests. Blocks for seconds. Raises BrokersUnavailable."""
    with _admin(settings, ANSWER_SECONDS) as admin:
        admin.delete_topics([topic_name(settings, modality)])


def broker_answers(bootstrap: str) -> bool:
    """Whether the unsecured broker at host:port answers a metadata request. Blocks for two seconds at most."""
    host, port = bootstrap.rsplit(":", 1)
    try:
        # Asked first: after a refused connection the client waits for its whole time-out.
        socket.create_connection((host, int(port)), _PROBE_SECONDS).close()
        with _admin(Settings(kafka_bootstrap_servers=bootstrap), _PROBE_SECONDS) as admin:
            return bool(admin.describe_cluster()["brokers"])
    except (OSError, BrokersUnavailable):
        return False


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
    topics = f"topics {settings.kafka_topic_prefix}.* (prefixed)"
    return [
        f"edge: Describe and Write on {topics}",
        # The worker that leads the group assigns the partitions of the topics of all workers.
        f"worker: Describe and Read on {topics}, all of them for each worker",
        f"worker: Read on group {group_name(settings)}",
        f"coatcheck init: Describe and Create on {topics}",
        f"coatcheck init --check: Describe on {topics}",
    ]


@contextmanager
def _admin(settings: Settings, seconds: float) -> Iterator[KafkaAdminClient]:
    """An admin client, closed at the end. Raises BrokersUnavailable for every error of the library."""
    servers = ", ".join(bootstrap_servers(settings))
    milliseconds = int(seconds * 1000)
    arguments = connection_arguments(settings)
    try:
        yield KafkaAdminClient(**arguments, bootstrap_timeout_ms=milliseconds, request_timeout_ms=milliseconds)
    except KafkaTimeoutError:
        raise BrokersUnavailable(
            f"no Kafka broker of {servers} answered within {seconds:.0f} s{arguments.why()}: is one up, is the "
            f"address right, do kafka_security_protocol {settings.kafka_security_protocol} and the SASL settings fit?"
        ) from None
    except (KafkaError, OSError) as error:
        reason = type(error).__name__
        raise BrokersUnavailable(f"the Kafka brokers {servers} refused: {reason}{arguments.why()}") from None
    finally:
        # When connecting failed, there is no admin client to close, but its network thread runs.
        if arguments.client is not None:
            arguments.client.close()


def _describe(admin: KafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The topics that exist, by name. Raises KafkaError, also for a topic without the right to see it."""
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
        if topic["error_code"] and error is not TopicAlreadyExistsError:  # another `init` may be at work
            reason = topic.get("error_message") or error.__name__
            raise TopicRefused(f"topic {topic['name']} was not created: {reason}")


def _problems(name: str, topic: dict[str, Any] | None, wanted: int) -> Iterator[str]:
    if topic is None:
        yield f"topic {name} does not exist: run `coatcheck init`"
        return
    partitions = topic["partitions"]
    leaderless = [partition["partition_index"] for partition in partitions if partition["leader_id"] < 0]
    if leaderless:
        yield f"topic {name} has no leader for partitions {', '.join(map(str, sorted(leaderless)))}: is a broker away?"
    if len(partitions) < wanted:
        yield (
            f"topic {name} has {len(partitions)} partitions, kafka_partitions asks for {wanted}: "
            f"add some (`kafka-topics --alter --topic {name} --partitions {wanted}`) or lower the setting"
        )
