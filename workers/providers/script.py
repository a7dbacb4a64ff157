"""The little language in a scripted model's name, such as `latency=100,fail=0.1,status=429,retry_after=2`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, get_args

import msgspec

from shared.known_providers import did_you_mean

Mode = Literal["hang", "drip", "reset", "cut", "truncate", "html", "page", "error200", "bomb", "huge"]
"""How a call fails without a plain status:

hang      no answer at all                        html      502 with an HTML page
drip      one byte of the answer at a time        page      200 with an HTML page
reset     the connection is reset mid-body        error200  200 with an error object
cut       the connection ends mid-body            bomb      200 MB of zeros, gzipped to a few KB
truncate  a whole HTTP answer with half the JSON  huge      200 MB of JSON
"""

MODES: tuple[str, ...] = get_args(Mode)
_MAX_MILLISECONDS = 86_400_000.0
_MAX_SIZE = 64 * 1024 * 1024


class ScriptError(ValueError):
    """The model name is no script; the message says what is wrong and what is known."""


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """What a scripted call does. Without `fail`, `first` or `until`, a `status` or `mode` applies to every call."""

    latency: float = 0.0  # milliseconds before the answer begins
    jitter: float = 0.0  # milliseconds more, evenly spread by call
    fail: float = 0.0  # share of calls that fail, 0 to 1
    first: int = 0  # calls under the first so many claims of a job fail
    until: float = 0.0  # every call before this Unix time fails, with 429 unless told otherwise
    status: int = 0  # HTTP status of a failure, 500 unless told otherwise
    mode: Mode | None = None  # another way to fail
    retry_after: float | None = None  # seconds, sent with a failure
    size: int = 0  # bytes of the answer's content: text, audio, image, numbers of a vector
    seed: int = 0  # another seed makes other calls fail


class Failure(msgspec.Struct, frozen=True):
    """How one call fails: by `mode` if set, else with `status`."""

    status: int
    mode: Mode | None = None
    retry_after: float | None = None


_FIELDS = {field.name: field.type for field in msgspec.structs.fields(Script)}


@lru_cache(maxsize=1024)
def parse_script(model: str) -> Script:
    """Read a model name. A name without `=` is an ordinary model that answers at once."""
    if "=" not in model:
        return Script()
    given: dict[str, str] = {}
    for item in model.removeprefix("scripted/").split(","):
        key, _, value = item.partition("=")
        if key not in _FIELDS:
            raise ScriptError(
                f"unknown word '{key[:40]}' in script: {did_you_mean(key, _FIELDS)}known: {', '.join(_FIELDS)}"
            )
        given[key] = value
    return _checked(given)


def failure_of(script: Script, call_id: str, now: float) -> Failure | None:
    """Whether and how this call fails; the same call always ends the same way. `now` is Unix time."""
    if now < script.until:
        return Failure(script.status or 429, script.mode, script.retry_after)
    conditional = script.fail or script.first or script.until
    due = script.fail and _share(script, call_id, "fail") < script.fail
    due = due or _claim_number(call_id) <= script.first
    if due or (not conditional and (script.status or script.mode)):
        return Failure(script.status or 500, script.mode, script.retry_after)
    return None


def delay_of(script: Script, call_id: str) -> float:
    """Seconds before the answer begins."""
    return (script.latency + script.jitter * (_share(script, call_id, "jitter") if script.jitter else 0)) / 1000


def _checked(given: Mapping[str, str]) -> Script:
    try:
        script = msgspec.convert(given, Script, strict=False)
    except msgspec.ValidationError as error:
        raise ScriptError(f"bad script: {error}") from None
    bounds = {
        "latency": (0, _MAX_MILLISECONDS),
        "jitter": (0, _MAX_MILLISECONDS),
        "fail": (0, 1),
        "first": (0, 1_000_000),
        "size": (0, _MAX_SIZE),
    }
    for name, (low, high) in bounds.items():
        if not low <= getattr(script, name) <= high:
            raise ScriptError(f"bad script: {name} must be between {low:g} and {high:g}")
    if script.status and not 300 <= script.status <= 599:
        raise ScriptError("bad script: status must be between 300 and 599")
    if script.retry_after is not None and not 0 <= script.retry_after <= 86_400:
        raise ScriptError("bad script: retry_after must be between 0 and 86400")
    return script


def _share(script: Script, call_id: str, purpose: str) -> float:
    """An even spread over 0..1 that depends on the call alone; a plain checksum would tie the claims of one job."""
    digest = hashlib.blake2b(f"{script.seed}:{purpose}:{call_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _claim_number(call_id: str) -> float:
    """The second part of `<job id>/<claim number>/<n>`; infinite when the caller did not say."""
    parts = call_id.split("/")
    return int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else float("inf")
