"""Names of topics and of the consumer group."""

from __future__ import annotations

from shared.settings import Settings


def topic_name(settings: Settings, modality: str) -> str:
    """The topic on which the bells of one modality travel."""
    return f"{settings.kafka_topic_prefix}.{modality}"


def group_name(settings: Settings) -> str:
    """The one consumer group of all workers, whatever modalities each of them serves."""
    return f"{settings.kafka_group_prefix}.workers"
