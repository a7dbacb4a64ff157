"""Names, plans and rights."""

from __future__ import annotations

from shared.domain.catalogue import MODALITIES
from shared.kafka.topics import group_name, needed_rights, planned_topics, topic_name
from shared.settings.table import Settings

SETTINGS = Settings(kafka_topic_prefix="acme", kafka_group_prefix="acme-prod")


def test_topics_and_the_group_carry_their_prefixes() -> None:
    assert topic_name(SETTINGS, "text") == "acme.text"
    assert group_name(SETTINGS) == "acme-prod.workers"


def test_the_plan_has_a_line_for_each_modality() -> None:
    lines = planned_topics(SETTINGS)
    assert len(lines) == len(MODALITIES)
    assert lines[0] == "topic acme.text: partitions 12, replicas as the brokers have it, retention 3600 s"
    fixed = planned_topics(Settings(kafka_replication_factor=3), ["ocr"])
    assert fixed == ["topic coatcheck.ocr: partitions 12, replicas 3, retention 3600 s"]


def test_the_rights_name_topics_and_group_and_allow_no_deletion_or_change() -> None:
    text = "\n".join(needed_rights(SETTINGS))
    assert "acme.*" in text
    assert "acme-prod.workers" in text
    for component in ("edge", "worker", "coatcheck init", "coatcheck init --check"):
        assert f"{component}: " in text
    assert "Delete" not in text
    assert "Alter" not in text
