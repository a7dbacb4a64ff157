"""An upstream, and OpenAI providers at any address, on each of the two transports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.providers.config import configured
from tests.contract.providers.transport_providers import ProviderAt
from tests.support.servers.upstream import Upstream, running_upstream
from workers.providers.openai.provider import OpenAIProvider
from workers.providers.transport import exchange
from workers.providers.transport.proxied import proxied


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with running_upstream() as running:
        yield running


@pytest.fixture(params=["direct", "through aiohttp"])
async def provider_at(request: pytest.FixtureRequest) -> AsyncIterator[ProviderAt]:
    """Makes providers for a port or base URL, over either transport, and closes them at the end."""
    made: list[OpenAIProvider] = []

    def make(address: int | str, **fields: Any) -> OpenAIProvider:
        base_url = f"http://127.0.0.1:{address}/v1" if isinstance(address, int) else address
        config = configured({"up": {"base_url": base_url, **fields}}, {})["up"]
        made.append(OpenAIProvider(config, max_body_bytes=1 << 20))
        if request.param == "through aiohttp" and not config.proxy:
            made[-1].transport.http, _ = proxied(config, exchange.tls_context(config.ca_file))
        return made[-1]

    yield make
    for provider in made:
        await provider.close()
