"""Asks one provider for its list of models, which costs nothing, and says in words what is wrong."""

from __future__ import annotations

import time

import httpx
import msgspec

from shared.known_providers import KNOWN_PROVIDERS, variable_stem
from shared.local_models import installed_models
from shared.providers import ProviderConfig
from workers.providers import errors
from workers.providers.base import ProviderError
from workers.providers.headers import fixed_headers, secrets_of
from workers.providers.transport import Reply, Transport

_SECONDS = 15.0
_MAX_BYTES = 8 * 1024 * 1024  # OpenRouter's list has hundreds of models


class CheckResult(msgspec.Struct, frozen=True):
    """`message` is for people; `models` are those that the provider names, if it names any."""

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
    try:
        url = httpx.URL(f"{config.base_url}/models")
        seconds = min(_SECONDS, config.timeout_seconds)
        reply = await transport.send("GET", url, fixed_headers(config), b"", seconds)
        return _judge(config, reply, round((time.monotonic() - started) * 1000))
    except ProviderError as error:
        return CheckResult(config.name, False, _no_answer(config, error), round((time.monotonic() - started) * 1000))
    finally:
        await transport.close()


def _judge(config: ProviderConfig, reply: Reply, milliseconds: int) -> CheckResult:
    if reply.status != 200:
        ok = reply.status in (404, 405) and _is_well_known_address(config)  # some have no list of models
        return CheckResult(config.name, ok, _refusal(config, reply), milliseconds)
    try:
        models = tuple(model.id for model in msgspec.json.decode(reply.body, type=_ModelList).data)
    except (ValueError, RecursionError):
        return CheckResult(
            config.name, False, f"{config.base_url}/models answers, but not with a list of models", milliseconds
        )
    missing = sorted(set(config.models) - set(models))
    if missing and models:
        message = f"answers, but does not list {', '.join(missing[:5])}: check providers.{config.name}.models"
        return CheckResult(config.name, False, message, milliseconds, models)
    return CheckResult(config.name, True, f"answers, {len(models)} models", milliseconds, models)


def _refusal(config: ProviderConfig, reply: Reply) -> str:
    error = errors.from_answer(reply.status, reply.body, reply.headers, secrets_of(config))
    return f"{_meaning(config, error)} ({error.message[:200]})"


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
    if error.error_type == "provider_connection_failed":
        hint = "" if _is_well_known_address(config) else f": is the server running? It is set by {_address(config)}"
        return f"{error.message}{hint}"
    return f"{config.base_url}: {error.message}"


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


def _address(config: ProviderConfig) -> str:
    return f"providers.{config.name}.base_url or {variable_stem(config.name)}_BASE_URL"
