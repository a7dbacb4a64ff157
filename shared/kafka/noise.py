"""Records on the bell topics that nobody should have put there, for drills and tests."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from kafka import KafkaProducer
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
