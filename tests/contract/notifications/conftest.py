"""One broker for the tests of this folder, and the publishers and listeners of each test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.contract.notifications.parties import Fake, Party, Real
from tests.support.servers.apache_kafka import ApacheKafka
from tests.support.servers.brokers import EmbeddedBroker, broker_under_test


@pytest.fixture(scope="package")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker | ApacheKafka]:
    with broker_under_test(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture(params=["fake", "kafka"])
def notifications(request: pytest.FixtureRequest) -> Fake | Real:
    return Fake() if request.param == "fake" else Real(request.getfixturevalue("broker"))


@pytest.fixture
async def party(notifications: Fake | Real) -> AsyncIterator[Party]:
    party = Party(notifications)
    yield party
    for listener in party.listeners:
        await listener.stop()
    for publisher in party.publishers:
        await publisher.close()
