"""What every provider is: one call in, one answer or one ProviderError out."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Protocol

import msgspec

from shared.domain.content import Content


class Call(msgspec.Struct, frozen=True):
    request_type: str  # a name of the catalogue, such as "embedding"
    model: str  # without the provider's prefix
    content: Content  # the client's body as stored
    forward: dict[str, str]  # pass-through headers for the provider, names in lower case
    extra_params: bool  # send unknown body fields too
    timeout: float  # seconds this call may take in all
    call_id: str  # "<job id>/<claim number>/<n>", unique per call
    params: bytes = b""  # JSON object that overrides fields of the body, or empty

    def __repr__(self) -> str:
        """Leaves out the forwarded headers: they may carry credentials."""
        return f"Call({self.call_id!r}, {self.request_type!r}, {self.model!r}, {self.content!r})"


class Answer(msgspec.Struct, frozen=True):
    """What a provider answered, in the shapes of OpenAI's API, whatever its own are: see `workers.result_shapes`."""

    body: bytes
    media_type: str  # "application/json", "audio/wav", "text/plain", ...
    upstream_request_id: str = ""
    fields: dict[str, msgspec.Raw] | None = None  # of the body, where it was taken apart already

    def __repr__(self) -> str:
        """Media type and size only: answers are the client's property."""
        return f"Answer({self.media_type!r}, bytes={len(self.body)}, {self.upstream_request_id!r})"


class ProviderError(Exception):
    """A call that gave no answer.

    `status_code` is what the job reports, `retry_after` is in seconds, `error_type` is a word of the public vocabulary
    of error types (caller_invalid_request, provider_timeout, ...). A `retryable` error may go away by itself.
    """

    def __init__(
        self,
        message: str,
        status_code: int,
        error_type: str,
        *,
        retryable: bool = False,
        retry_after: float | None = None,
        type: str | None = None,
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status_code = status_code
        self.error_type = error_type
        self.retryable = retryable
        self.retry_after = retry_after
        self.type = type
        self.code = code
        self.param = param


class NoPlace(ProviderError):
    """The call did not begin: our own bound on calls at a time was reached all the while."""


class Calls:
    """How many provider calls have begun under one claim, or `together` under several. One that waits for us has not.

    `tell`, if any, is awaited after each change, so that a call which begins is known before anything can go wrong.
    """

    def __init__(self, together: "Sequence[Calls]" = ()) -> None:
        self.begun = 0
        self.tell: Callable[[], Awaitable[None]] | None = None
        self._together = together

    async def begin(self) -> None:
        await self._count(1)

    async def put_off(self) -> None:
        """The call has not begun after all: it waits. Until `begin` it may be given up and was never made."""
        await self._count(-1)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Reading the request is no call, but what harm it does is known as that of one."""
        await self.begin()
        try:
            yield
        finally:
            self.begun -= 1

    async def _count(self, change: int) -> None:
        claims = self._together or (self,)
        for calls in claims:
            calls.begun += change
        for calls in claims:
            if calls.tell is not None:
                await calls.tell()


CALLS: ContextVar[Calls] = ContextVar("calls")
"""Those of the claim for which this task works."""


class Provider(Protocol):
    """One provider. It is used from one event loop and never blocks it."""

    async def call(self, call: Call) -> Answer:
        """Makes the call within `call.timeout` seconds. Raises ProviderError, or is cancelled, and nothing else."""

    async def close(self) -> None:
        """Gives back connections and threads. Safe to call twice."""
