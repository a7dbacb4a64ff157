"""A release without a cluster, for the tests that start what the chart renders."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.release import Release
from tests.support.servers.brokers import broker_under_test
from tests.support.servers.mongod import MongodSet


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker."""
    with broker_under_test(tmp_path_factory.mktemp("broker")) as broker:
        yield broker.bootstrap


@pytest.fixture(scope="module")
def release(mongod: MongodSet, kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """An installed release with its edge, worker and reaper ready."""
    with Release(mongod.uri, kafka, tmp_path_factory.mktemp("pods")) as release:
        release.install()
        yield release
