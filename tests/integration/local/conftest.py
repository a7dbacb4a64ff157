"""The local provider, once for all tests here: each model is loaded once."""

import asyncio
from collections.abc import Iterator

import pytest

from workers.local_models.provider import LocalProvider


@pytest.fixture(scope="session")
def provider() -> Iterator[LocalProvider]:
    """A provider whose models stay loaded."""
    provider = LocalProvider()
    yield provider
    asyncio.run(provider.close())
