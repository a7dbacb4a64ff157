"""What is committed, and when."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kafka import TopicPartition
from kafka.errors import CommitFailedError

from shared.kafka import group as module
from shared.kafka.group import OffsetCommitter
from shared.kafka.patched_client import ClientMaker
from tests.unit.shared.kafka.stubs import StubConsumer

ZERO, ONE = TopicPartition("c.text", 0), TopicPartition("c.text", 1)


@pytest.fixture
def consumer() -> Iterator[StubConsumer]:
    """Owns partitions 0 and 1, both read up to 5."""
    consumer = StubConsumer("c.text", kafka_client=ClientMaker(), api_version=(3, 9))
    consumer.positions = {ZERO: 5, ONE: 5}
    yield consumer
    consumer.close(autocommit=False, timeout_ms=0)


@pytest.fixture
def progress(consumer: StubConsumer) -> OffsetCommitter:
    return OffsetCommitter(consumer)


@pytest.fixture
def always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMMIT_SECONDS", 0.0)


def test_the_first_commit_has_the_positions_of_all_partitions(
    progress: OffsetCommitter, consumer: StubConsumer
) -> None:
    progress.note(ONE, 9)
    progress.commit_when_due()
    assert consumer.committed == {ZERO: 5, ONE: 9}


def test_commits_keep_a_distance(progress: OffsetCommitter, consumer: StubConsumer) -> None:
    progress.commit_when_due()
    progress.note(ZERO, 6)
    progress.commit_when_due()
    assert consumer.committed[ZERO] == 5
    progress.commit_last()
    assert consumer.committed[ZERO] == 6


@pytest.mark.usefixtures("always_due")
def test_only_what_is_new_is_committed(progress: OffsetCommitter, consumer: StubConsumer) -> None:
    progress.commit_when_due()
    consumer.committed.clear()
    progress.commit_when_due()
    assert consumer.committed == {}
    progress.note(ZERO, 6)
    progress.commit_when_due()
    assert consumer.committed == {ZERO: 6}


@pytest.mark.usefixtures("always_due")
def test_a_position_that_is_not_known_yet_is_committed_later(progress: OffsetCommitter, consumer: StubConsumer) -> None:
    consumer.positions = {}
    progress.commit_when_due()
    assert consumer.committed == {}
    consumer.positions = {ZERO: 5, ONE: 5}
    progress.commit_when_due()
    assert consumer.committed == {ZERO: 5, ONE: 5}


@pytest.mark.usefixtures("always_due")
def test_a_partition_that_comes_back_is_new_again(progress: OffsetCommitter, consumer: StubConsumer) -> None:
    progress.commit_when_due()
    consumer.assigned = {ZERO}
    progress.commit_when_due()
    consumer.committed.clear()
    consumer.assigned, consumer.positions = {ZERO, ONE}, {ZERO: 6, ONE: 8}
    progress.commit_when_due()
    assert consumer.committed == {ONE: 8}


@pytest.mark.parametrize("last", [True, False])
def test_partitions_that_went_to_another_member_are_not_committed(
    progress: OffsetCommitter, consumer: StubConsumer, last: bool
) -> None:
    progress.note(ZERO, 6)
    progress.note(ONE, 6)
    consumer.assigned = {ONE}
    if last:
        progress.commit_last()
    else:
        progress.commit_when_due()
    assert consumer.committed == {ONE: 6}


def test_a_refused_commit_goes_no_further(
    progress: OffsetCommitter, consumer: StubConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise CommitFailedError

    monkeypatch.setattr(consumer, "commit_async", refuse)
    monkeypatch.setattr(consumer, "commit", refuse)
    progress.commit_when_due()
    progress.note(ZERO, 6)
    progress.commit_last()
    assert consumer.committed == {}
