"""Makes the configured providers and closes them again."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from shared.providers.config import ProviderConfig, configured
from shared.providers.local_models import installed
from shared.settings.table import Settings
from shared.telemetry.redaction import hide
from workers.answer_memory_budget import AnswerMemory
from workers.provider_interface import Provider
from workers.providers.batching.embeddings import Limits
from workers.providers.batching.provider import BatchingProvider
from workers.providers.openai.provider import OpenAIProvider
from workers.providers.openai.request_headers import secrets_of
from workers.providers.scripted.provider import ScriptedProvider

_log = logging.getLogger(__name__)

_LOCAL_BATCH_TEXTS = 8
"""Twice the throughput of single texts. More texts gain nothing, and the first one would wait for them all."""


@asynccontextmanager
async def open_providers(
    settings: Settings, environ: Mapping[str, str] = os.environ, memory: AnswerMemory | None = None
) -> AsyncIterator[dict[str, Provider]]:
    """The providers of a worker by name, closed at the end. Raises SettingsError when one is misconfigured."""
    configs = configured(settings.providers, environ, settings.local_models)
    for config in configs.values():
        hide(secrets_of(config))
        _tell_missing(config)
    providers = build(configs, max_body_bytes=settings.max_result_bytes, memory=memory)
    try:
        yield providers
    finally:
        await close_all(providers)


def build(
    configs: Mapping[str, ProviderConfig], *, max_body_bytes: int, memory: AnswerMemory | None = None
) -> dict[str, Provider]:
    """One provider for each configuration. None of them connects or loads a model before its first call."""
    return {name: _batching(config, _make(config, max_body_bytes, memory)) for name, config in configs.items()}


async def close_all(providers: Mapping[str, Provider]) -> None:
    """Closes every provider, also when another one fails to close."""
    closing = (provider.close() for provider in providers.values())
    for name, outcome in zip(providers, await asyncio.gather(*closing, return_exceptions=True), strict=True):
        if isinstance(outcome, Exception):
            _log.warning("provider %s did not close: %s", name, outcome)


def _tell_missing(config: ProviderConfig) -> None:
    """Edges accept what is listed, and cannot see what is installed here."""
    if missing := [model for model in config.models if config.kind == "local" and not installed(model)]:
        _log.warning("%s lists %s, not installed here: such jobs fail", config.listed_by, ", ".join(missing))


def _batching(config: ProviderConfig, provider: Provider) -> Provider:
    is_local = config.kind == "local"
    texts = config.batch_texts or (_LOCAL_BATCH_TEXTS if is_local else 1)
    return BatchingProvider(provider, Limits(texts, serial=is_local)) if texts > 1 else provider


def _make(config: ProviderConfig, max_body_bytes: int, memory: AnswerMemory | None) -> Provider:
    if config.kind == "local":
        from workers.local_models.provider import LocalProvider  # noqa: PLC0415 - heavy, needed by few

        return LocalProvider()
    if config.kind == "scripted":
        return ScriptedProvider(max_body_bytes=max_body_bytes)
    return OpenAIProvider(config, max_body_bytes=max_body_bytes, memory=memory)
