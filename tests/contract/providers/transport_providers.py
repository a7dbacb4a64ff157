"""Providers on both HTTP transports, and what the tests of them ask."""

from __future__ import annotations

from collections.abc import Callable

import aiohttp
import pytest

from tests.support.servers.upstream import call_of
from workers.provider_interface import Call, ProviderError
from workers.providers.openai.provider import OpenAIProvider
from workers.providers.transport.direct import DirectTransport

CHAT = b'{"choices":[{"index":0}]}'
KEY = "sk-secret-key-123456"

ProviderAt = Callable[..., OpenAIProvider]


async def failure_of(provider: OpenAIProvider, call: Call | None = None) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await provider.call(call or call_of())
    return caught.value


def busy_connections(provider: OpenAIProvider) -> int:
    if isinstance(provider.transport.http, DirectTransport):
        return provider.transport.http.connections.busy
    session = provider.transport.http.client  # type: ignore[attr-defined]
    if not isinstance(session, aiohttp.ClientSession):
        return 0  # no call was made yet
    assert session.connector is not None
    return len(session.connector._acquired)
