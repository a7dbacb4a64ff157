"""Makes the configured providers and closes them again."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from shared.providers import ProviderConfig, configured
from shared.redaction import hide
from shared.settings import Settings
from workers.providers.base import Provider
from workers.providers.batching import BatchingProvider
from workers.providers.embedding_batch import Limits
from workers.providers.headers import secrets_of
from workers.providers.openai import OpenAIProvider
from workers.providers.scripted import ScriptedProvider

_log = logging.getLogger(__name__)

_LOCAL_BATCH_TEXTS = 8
"""Twice the throughput of single texts, as more would give, and whoever is first waits for few."""


@asynccontextmanager
async def open_providers(
    settings: Settings, environ: Mapping[str, str] = os.environ
) -> AsyncIterator[dict[str, Provider]]:
    """The providers of a worker by name, closed at the end. Raises SettingsError when one is misconfigured."""
    configs = configured(settings.providers, environ, settings.local_models)
    for config in configs.values():
        hide(secrets_of(config))
    providers = build(configs, max_body_bytes=settings.max_result_bytes)
    try:
        yield providers
    finally:
        await close_all(providers)


def build(configs: Mapping[str, ProviderConfig], *, max_body_bytes: int) -> dict[str, Provider]:
    """One provider for each configuration. None of them connects or loads a model before its first call."""
    return {name: _batching(config, _make(config, max_body_bytes)) for name, config in configs.items()}


async def close_all(providers: Mapping[str, Provider]) -> None:
    """Closes every provider, also when another one fails to close."""
    closing = (provider.close() for provider in providers.values())
    for name, outcome in zip(providers, await asyncio.gather(*closing, return_exceptions=True), strict=True):
        if isinstance(outcome, Exception):
            _log.warning("provider %s did not close: %s", name, outcome)


def _batching(config: ProviderConfig, provider: Provider) -> Provider:
    is_local = config.kind == "local"
    texts = config.batch_texts or (_LOCAL_BATCH_TEXTS if is_local else 1)
    return BatchingProvider(provider, Limits(texts, in_turn=is_local)) if texts > 1 else provider


def _make(config: ProviderConfig, max_body_bytes: int) -> Provider:
    if config.kind == "local":
        from workers.providers.local.provider import LocalProvider  # noqa: PLC0415 - heavy, needed by few

        return LocalProvider()
    if config.kind == "scripted":
        return ScriptedProvider(max_body_bytes=max_body_bytes)
    return OpenAIProvider(config, max_body_bytes=max_body_bytes)
