"""What nobody should do to the bell topics: strange records, and a topic that goes. For drills and tests."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import KafkaError

from shared.kafka.connection import connection_arguments, silence_client_logs
from shared.kafka.topics import topic_name
from shared.settings import Settings

_WAIT_SECONDS = 5.0


def send_noise(settings: Settings, modality: str, values: Sequence[bytes | None]) -> int:
    """Send `values` as they are to the topic of a modality; how many arrived. Blocks for seconds, raises nothing."""
    silence_client_logs()
    arguments = connection_arguments(settings)
    arrived = 0
    with contextlib.suppress(KafkaError, OSError):
        producer = KafkaProducer(**arguments, enable_idempotence=False, max_block_ms=int(_WAIT_SECONDS * 1000))
        try:
            sent = [producer.send(topic_name(settings, modality), value=value, key=b"noise") for value in values]
            for each in sent:
                with contextlib.suppress(KafkaError):
                    each.get(_WAIT_SECONDS)
                    arrived += 1
        finally:
            with contextlib.suppress(KafkaError):
                producer.close(1)
    return arrived


def delete_topic(settings: Settings, modality: str) -> None:
    """Delete the topic of a modality with all its bells. Blocks for seconds. Raises KafkaError."""
    silence_client_logs()
    arguments = connection_arguments(settings)
    milliseconds = int(_WAIT_SECONDS * 1000)
    with KafkaAdminClient(**arguments, bootstrap_timeout_ms=milliseconds, request_timeout_ms=milliseconds) as admin:
        admin.delete_topics([topic_name(settings, modality)])
