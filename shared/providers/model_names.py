"""Which provider and model a model string means, and the fallbacks of a request."""

from collections.abc import Mapping
from typing import Any

import msgspec

from shared.domain.target import Target
from shared.providers.config import ProviderConfig
from shared.providers.known import KNOWN_PROVIDERS, did_you_mean

MAX_FALLBACKS = 32
MAX_PARAMS_BYTES = 64 * 1024
"""Bounds of what one job may carry; a fallback beyond them is dropped."""
_EXAMINED_FALLBACKS = 256
_SHOWN_MODEL_CHARACTERS = 120


class ModelError(msgspec.Struct, frozen=True):
    """Why a model string names no target, in words for the client."""

    message: str


def split_model(model: str, providers: Mapping[str, ProviderConfig], default_provider: str = "") -> Target | ModelError:
    """Provider and model: split at the first slash if a configured provider stands before it.

    Any other string is a model that exactly one provider lists or, without a slash, one of the default provider.
    """
    return _resolve(model, providers, default_provider) or ModelError(_why_not(model, providers))


def parse_fallbacks(
    value: object, providers: Mapping[str, ProviderConfig], default_provider: str = ""
) -> tuple[Target, ...]:
    """What cannot be used is dropped, order and doubles are kept. Forms send objects as texts that hold a JSON list."""
    entries = value if isinstance(value, list | tuple) else [value]
    targets: list[Target] = []
    for entry in entries[:_EXAMINED_FALLBACKS]:
        if isinstance(entry, str) and entry.lstrip().startswith("["):
            targets.extend(parse_fallbacks(_json_list(entry), providers, default_provider))
        elif (target := _fallback(entry, providers, default_provider)) is not None:
            targets.append(target)
    return tuple(targets[:MAX_FALLBACKS])


def _resolve(model: str, providers: Mapping[str, ProviderConfig], default_provider: str) -> Target | None:
    prefix, slash, rest = model.partition("/")
    if slash and prefix in providers:
        return Target(prefix, rest) if rest else None
    listing = _listing(model, providers)
    if len(listing) == 1:
        return Target(listing[0], model)
    if model and not slash and not listing and default_provider in providers:
        return Target(default_provider, model)
    return None


def _listing(model: str, providers: Mapping[str, ProviderConfig]) -> list[str]:
    return [name for name, config in providers.items() if model in config.models]


def _fallback(entry: object, providers: Mapping[str, ProviderConfig], default_provider: str) -> Target | None:
    if isinstance(entry, str):
        return _resolve(entry, providers, default_provider)
    if not isinstance(entry, Mapping):
        return None
    provider, model, params = entry.get("provider"), entry.get("model"), entry.get("params")
    if not (isinstance(provider, str) and provider in providers and isinstance(model, str) and model):
        return None
    if not isinstance(params, Mapping | None):
        return None
    encoded = msgspec.json.encode(params) if params else b""
    return Target(provider, model, encoded) if len(encoded) <= MAX_PARAMS_BYTES else None


def _json_list(text: str) -> list[Any]:
    try:
        return msgspec.json.decode(text, type=list[Any])
    except (msgspec.DecodeError, RecursionError):
        return []


def _why_not(model: str, providers: Mapping[str, ProviderConfig]) -> str:
    """Not for loops: guessing a name is slow."""
    names = ", ".join(sorted(providers)) or "none (set OPENAI_API_KEY, for example)"
    prefix, slash, _ = model.partition("/")
    if slash and prefix in providers:
        return f"model {_shown(model)} names no model after '{prefix}/'"
    if listing := _listing(model, providers):
        return f"model {_shown(model)} is listed by {', '.join(listing)}: write '{listing[0]}/{_clip(model)}', say"
    if not slash:
        example = f"{next(iter(sorted(providers)), 'openai')}/{_clip(model) or 'model'}"
        return f"model {_shown(model)} has no provider: write provider/model, such as '{example}'; configured: {names}"
    if prefix in KNOWN_PROVIDERS:
        remedy = KNOWN_PROVIDERS[prefix].remedy
        return f"provider '{prefix}' in model {_shown(model)} is not configured: {remedy}; configured: {names}"
    guess = did_you_mean(prefix, [*providers, *KNOWN_PROVIDERS])
    return f"unknown provider '{_clip(prefix)}' in model {_shown(model)}: {guess}configured: {names}"


def _shown(model: str) -> str:
    return f"'{_clip(model)}'"


def _clip(text: str) -> str:
    return text if len(text) <= _SHOWN_MODEL_CHARACTERS else f"{text[:_SHOWN_MODEL_CHARACTERS]}..."
