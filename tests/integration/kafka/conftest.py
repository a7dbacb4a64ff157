"""The broker of the tests of this folder, one for each file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.servers.apache_kafka import ApacheKafka
from tests.support.servers.brokers import EmbeddedBroker, broker_under_test


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker | ApacheKafka]:
    with broker_under_test(tmp_path_factory.mktemp("broker")) as running:
        yield running
