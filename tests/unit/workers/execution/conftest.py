"""The store of the tests of an executor."""

from __future__ import annotations

import pytest

from tests.support.fakes.store import FakeClock, FakeStore
from tests.unit.workers.execution.executors import SETTINGS


@pytest.fixture
def store() -> FakeStore:
    return FakeStore(SETTINGS, clock=FakeClock(running=True))
