"""Which kind of provider a configuration makes, and that all of them are closed."""

from __future__ import annotations

import pytest

from shared.domain.errors import SettingsError
from shared.providers.config import configured
from shared.settings.reading import load_settings
from shared.telemetry.redaction import redact
from workers import provider_registry
from workers.local_models.provider import LocalProvider
from workers.provider_interface import Answer, Call, Provider
from workers.providers.batching.provider import BatchingProvider
from workers.providers.openai.provider import OpenAIProvider
from workers.providers.scripted.provider import ScriptedProvider


async def test_each_kind_of_configuration_makes_its_provider() -> None:
    configs = configured({"scripted": {}, "mine": {"base_url": "http://mine"}}, {}, ["minilm"])
    providers = provider_registry.build(configs, max_body_bytes=1000)
    assert {name: type(provider) for name, provider in providers.items()} == {
        "scripted": ScriptedProvider,
        "mine": OpenAIProvider,
        "local": BatchingProvider,
    }
    await provider_registry.close_all(providers)


@pytest.mark.parametrize(
    ("table", "expected"),
    [({}, OpenAIProvider), ({"batch_texts": 1}, OpenAIProvider), ({"batch_texts": 2}, BatchingProvider)],
)
async def test_embeddings_travel_together_where_that_is_asked_for(table: dict[str, int], expected: type) -> None:
    providers = provider_registry.build(
        configured({"mine": {"base_url": "http://mine", **table}}, {}), max_body_bytes=1000
    )
    assert type(providers["mine"]) is expected
    await provider_registry.close_all(providers)


async def test_local_models_can_be_told_to_take_one_job_at_a_time() -> None:
    providers = provider_registry.build(configured({"local": {"batch_texts": 1}}, {}, ["minilm"]), max_body_bytes=1000)
    assert type(providers["local"]) is LocalProvider
    await provider_registry.close_all(providers)


async def test_a_worker_opens_what_its_environment_enables_and_hides_the_keys() -> None:
    key = "key-of-a-worker-0123"
    async with provider_registry.open_providers(load_settings({}, environ={}), {"GROQ_API_KEY": key}) as providers:
        assert list(providers) == ["groq"]
    assert key not in redact(f"a line with {key} in it")


async def test_a_misconfigured_provider_stops_the_worker_at_its_start() -> None:
    with pytest.raises(SettingsError, match="OPENAI_BASE_URL"):
        async with provider_registry.open_providers(load_settings({}, environ={}), {"OPENAI_BASE_URL": "nonsense"}):
            raise AssertionError("it opened")


class Closing:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.closed = False

    async def call(self, call: Call) -> Answer:
        raise NotImplementedError

    async def close(self) -> None:
        self.closed = True
        if self.error is not None:
            raise self.error


async def test_one_that_fails_to_close_does_not_keep_the_others_open(caplog: pytest.LogCaptureFixture) -> None:
    first, second = Closing(OSError("stuck")), Closing()
    providers: dict[str, Provider] = {"first": first, "second": second}
    await provider_registry.close_all(providers)
    assert first.closed and second.closed
    assert "provider first did not close: stuck" in caplog.text
