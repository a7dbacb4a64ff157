"""A release without a cluster, for the tests that start what the chart renders."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.release import Release
from tests.support.brokers import broker_under_test
from tests.support.mongod import MongodSet


@pytest.fixture(scope="module")
def release(mongod: MongodSet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """An installed release with its edge, worker and keeper ready."""
    with broker_under_test(tmp_path_factory.mktemp("broker")) as broker:
        release = Release(mongod.uri, broker.bootstrap, tmp_path_factory.mktemp("pods"))
        try:
            release.install()
            yield release
        finally:
            release.discard()
