"""Answers from the script in a model's name, such as `latency=100,fail=0.1,status=429,retry_after=2`."""

from __future__ import annotations

import asyncio
import hashlib
import time
from functools import lru_cache
from typing import Literal, get_args

import msgspec

from shared.providers.known import did_you_mean
from workers import error_classification
from workers.provider_interface import Answer, Call, ProviderError
from workers.providers.scripted.answers import answer_to, read_request

Mode = Literal["hang", "drip", "reset", "cut", "truncate", "html", "page", "error200", "bomb", "huge"]
"""How a call fails without a plain status:

hang      no answer at all                        html      502 with an HTML page
drip      one byte of the answer at a time        page      200 with an HTML page
reset     the connection is reset mid-body        error200  200 with an error object
cut       the connection ends mid-body            bomb      200 MB of zeros, gzipped to a few KB
truncate  a whole HTTP answer with half the JSON  huge      200 MB of JSON
"""

MODES: tuple[str, ...] = get_args(Mode)
_NEVER_SECONDS = 10 * 86400.0
_BOUNDS = {
    "latency": (0, 86_400_000),
    "jitter": (0, 86_400_000),
    "fail": (0, 1),
    "first": (0, 1_000_000),
    "size": (0, 64 * 1024 * 1024),
    "status": (300, 599),
    "retry_after": (0, 86_400),
}


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
    status: int
    mode: Mode | None = None
    retry_after: float | None = None


_PLAIN = Script()
_FIELDS = {field.name: field.type for field in msgspec.structs.fields(Script)}


@lru_cache(maxsize=1024)
def parse_script(model: str) -> Script:
    """Read a model name. A name without `=` is an ordinary model that answers at once."""
    if "=" not in model:
        return _PLAIN
    given: dict[str, str] = {}
    for item in model.removeprefix("scripted/").split(","):
        key, _, value = item.partition("=")
        if key not in _FIELDS:
            hint = did_you_mean(key, _FIELDS)
            raise ScriptError(f"unknown word '{key[:40]}' in script: {hint}known: {', '.join(_FIELDS)}")
        given[key] = value
    try:
        script = msgspec.convert(given, Script, strict=False)
    except msgspec.ValidationError as error:
        raise ScriptError(f"bad script: {error}") from None
    for name, (low, high) in _BOUNDS.items():
        value = getattr(script, name)
        if value != getattr(_PLAIN, name) and not low <= value <= high:
            raise ScriptError(f"bad script: {name} must be between {low:g} and {high:g}")
    return script


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
    return (script.latency + script.jitter * (_share(script, call_id, "jitter") if script.jitter else 0)) / 1000


def _share(script: Script, call_id: str, purpose: str) -> float:
    """An even spread over 0..1 that depends on the call alone; a plain checksum would tie the claims of one job."""
    digest = hashlib.blake2b(f"{script.seed}:{purpose}:{call_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _claim_number(call_id: str) -> float:
    """The second part of `<job id>/<claim number>/<n>`; infinite when the caller did not say."""
    parts = call_id.split("/")
    return int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else float("inf")


class ScriptedProvider:
    """Same scripts, answers and errors as the scripted upstream, without HTTP."""

    def __init__(self, *, max_body_bytes: int = 64 * 1024 * 1024) -> None:
        self._max_body_bytes = max_body_bytes

    async def call(self, call: Call) -> Answer:
        try:
            script = parse_script(call.model)
        except ScriptError as error:
            raise error_classification.bad_request(str(error)) from None
        try:
            async with asyncio.timeout(call.timeout) as deadline:
                return await self._play(call, script)
        except TimeoutError:
            if deadline.expired():
                raise error_classification.timed_out(call.timeout) from None
            raise

    async def close(self) -> None:
        """There is nothing to give back."""

    async def _play(self, call: Call, script: Script) -> Answer:
        if delay := delay_of(script, call.call_id):
            await asyncio.sleep(delay)
        failure = failure_of(script, call.call_id, time.time())
        if failure is not None:
            if failure.mode in ("hang", "drip"):
                await asyncio.sleep(_NEVER_SECONDS)
            raise self._error(failure)
        try:
            answer = answer_to(call.request_type, read_request(call.content), call.model, script.size)
        except ValueError as error:
            raise error_classification.bad_request(str(error)) from None
        if len(answer.body) > self._max_body_bytes:
            raise error_classification.too_large(self._max_body_bytes)
        return answer

    def _error(self, failure: Failure) -> ProviderError:
        """What a client of the scripted upstream would make of the same failure."""
        if failure.mode in ("bomb", "huge"):
            return error_classification.too_large(self._max_body_bytes)
        if failure.mode in ("reset", "cut"):
            return error_classification.connection_failed(f"scripted {failure.mode} in the middle of the answer")
        if failure.mode in ("truncate", "page"):
            return error_classification.bad_answer(f"scripted {failure.mode}")
        if failure.mode == "html":
            page = b"<html><h1>502 Bad Gateway</h1></html>"
            return error_classification.from_answer(502, page, {"content-type": "text/html"})
        status = 502 if failure.mode == "error200" else failure.status
        return error_classification.from_upstream_error(status, scripted_upstream_error(status), failure.retry_after)


def scripted_upstream_error(status: int) -> error_classification.UpstreamError:
    kind = "rate_limit_error" if status == 429 else "invalid_request_error" if status < 500 else "server_error"
    return error_classification.UpstreamError(f"scripted failure {status}", kind, f"scripted_{status}")
