"""Asks one provider for its list of models, which costs nothing, and says in words what is wrong."""

from __future__ import annotations

import time

import httpx
import msgspec

from shared.providers.config import ProviderConfig
from shared.providers.known import KNOWN_PROVIDERS, variable_stem
from shared.providers.local_models import installed_models
from workers import error_classification
from workers.provider_interface import ProviderError
from workers.providers.openai.request_headers import fixed_headers, secrets_of
from workers.providers.transport.exchange import Reply, Transport

_SECONDS = 15.0
_MAX_BYTES = 8 * 1024 * 1024  # OpenRouter's list has hundreds of models


class CheckResult(msgspec.Struct, frozen=True):
    name: str
    ok: bool
    message: str
    milliseconds: int = 0
    models: tuple[str, ...] = ()


class _Model(msgspec.Struct):
    id: str


class _ModelList(msgspec.Struct):
    data: list[_Model]


async def check(config: ProviderConfig) -> CheckResult:
    """Makes the call. Raises nothing."""
    if config.kind == "local":
        return _check_local(config)
    if config.kind == "scripted":
        return CheckResult(config.name, True, "answers from scripts, without a network")
    transport = Transport(config, max_body_bytes=_MAX_BYTES)
    started = time.monotonic()
    models: tuple[str, ...] = ()
    try:
        url = httpx.URL(f"{config.base_url}/models")
        seconds = min(_SECONDS, config.timeout_seconds)
        reply = await transport.send("GET", url, fixed_headers(config), b"", seconds)
        ok, message, models = _judge(config, reply)
    except ProviderError as error:
        ok, message = False, _no_answer(config, error)
    finally:
        await transport.close()
    return CheckResult(config.name, ok, message, round((time.monotonic() - started) * 1000), models)


def _judge(config: ProviderConfig, reply: Reply) -> tuple[bool, str, tuple[str, ...]]:
    if reply.status != 200:
        ok = reply.status in (404, 405) and _is_well_known_address(config)  # some have no list of models
        error = error_classification.from_answer(reply.status, reply.body, reply.headers, secrets_of(config))
        return ok, f"{_meaning(config, error)} ({error.message[:200]})", ()
    try:
        models = tuple(model.id for model in msgspec.json.decode(reply.body, type=_ModelList).data)
    except (ValueError, RecursionError):
        return False, f"{config.base_url}/models answers, but not with a list of models", ()
    missing = sorted(set(config.models) - set(models))
    if missing and models:
        message = f"answers, but does not list {', '.join(missing[:5])}: check providers.{config.name}.models"
        return False, message, models
    return True, f"answers, {len(models)} models", models


def _meaning(config: ProviderConfig, error: ProviderError) -> str:
    if error.status_code in (401, 403):
        return f"{'refuses the key: check' if config.api_key else 'wants a key: set'} {_key_source(config)}"
    if error.status_code in (404, 405):
        if _is_well_known_address(config):
            return "answers; it has no list of models, so the key was not checked"
        return f"answers, but has no {config.base_url}/models: is base_url right? It mostly ends in /v1"
    if error.error_type == "provider_billing":
        return "the account has no money left"
    return "answers, but allows no more calls for now" if error.status_code == 429 else "answers with an error"


def _no_answer(config: ProviderConfig, error: ProviderError) -> str:
    if error.error_type != "provider_connection_failed":
        return f"{config.base_url}: {error.message}"
    if _is_well_known_address(config):
        return error.message
    setting = f"providers.{config.name}.base_url or {variable_stem(config.name)}_BASE_URL"
    return f"{error.message}: is the server running? It is set by {setting}"


def _check_local(config: ProviderConfig) -> CheckResult:
    here = {model.id for model in installed_models()}
    missing = [model for model in config.models if model not in here]
    if missing:
        return CheckResult(config.name, False, f"not installed: {', '.join(missing)}; `make run MODELS=all` brings all")
    return CheckResult(config.name, True, f"{len(config.models)} models installed", models=config.models)


def _is_well_known_address(config: ProviderConfig) -> bool:
    known = KNOWN_PROVIDERS.get(config.name)
    return known is not None and known.base_url == config.base_url


def _key_source(config: ProviderConfig) -> str:
    known = KNOWN_PROVIDERS.get(config.name)
    usual = known.key_variables[0] if known else f"{variable_stem(config.name)}_API_KEY"
    return config.api_key_file or config.api_key_env or usual
