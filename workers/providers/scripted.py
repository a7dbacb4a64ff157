"""A provider that answers from a script in the model's name, in this process: for tests, benchmarks and drills."""

from __future__ import annotations

import asyncio
import time

from workers.providers import errors
from workers.providers.base import Answer, Call, ProviderError
from workers.providers.script import Failure, Script, ScriptError, delay_of, failure_of, parse_script
from workers.providers.script_answers import answer_to, read_request

_NEVER_SECONDS = 10 * 86400.0


class ScriptedProvider:
    """Same scripts, answers and errors as the scripted upstream, without HTTP."""

    def __init__(self, *, max_body_bytes: int = 64 * 1024 * 1024) -> None:
        self._max_body_bytes = max_body_bytes

    async def call(self, call: Call) -> Answer:
        """Plays the script. Raises ProviderError."""
        try:
            script = parse_script(call.model)
        except ScriptError as error:
            raise errors.bad_request(str(error)) from None
        try:
            async with asyncio.timeout(call.timeout) as deadline:
                return await self._play(call, script)
        except TimeoutError:
            if deadline.expired():
                raise errors.timed_out(call.timeout) from None
            raise

    async def close(self) -> None:
        """Nothing to give back."""

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
            raise errors.bad_request(str(error)) from None
        if len(answer.body) > self._max_body_bytes:
            raise errors.too_large(self._max_body_bytes)
        return answer

    def _error(self, failure: Failure) -> ProviderError:
        """What a client of the scripted upstream would make of the same failure."""
        if failure.mode in ("bomb", "huge"):
            return errors.too_large(self._max_body_bytes)
        if failure.mode in ("reset", "cut"):
            return errors.connection_failed(f"scripted {failure.mode} in the middle of the answer")
        if failure.mode in ("truncate", "page"):
            return errors.bad_answer(f"scripted {failure.mode}")
        if failure.mode == "html":
            return errors.from_answer(502, b"<html><h1>502 Bad Gateway</h1></html>", {"content-type": "text/html"})
        status = 502 if failure.mode == "error200" else failure.status
        return errors.from_complaint(status, scripted_complaint(status), failure.retry_after)


def scripted_complaint(status: int) -> errors.Complaint:
    """The error of a scripted failure."""
    kind = "rate_limit_error" if status == 429 else "invalid_request_error" if status < 500 else "server_error"
    return errors.Complaint(f"scripted failure {status}", kind, f"scripted_{status}")
