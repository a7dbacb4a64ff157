"""What every provider is: one call in, one answer or one ProviderError out."""

from typing import Protocol

import msgspec

from shared.content import Content


class Call(msgspec.Struct, frozen=True):
    """One provider call."""

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
    """What a provider said: JSON, text or binary audio."""

    body: bytes
    media_type: str  # "application/json", "audio/wav", "text/plain", ...
    upstream_request_id: str = ""

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
        *,
        status_code: int,
        error_type: str,
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


class Provider(Protocol):
    """One provider. It is used from one event loop and never blocks it."""

    async def call(self, call: Call) -> Answer:
        """Makes the call within `call.timeout` seconds. Raises ProviderError, or is cancelled, and nothing else."""
        ...

    async def close(self) -> None:
        """Gives back connections and threads. Safe to call twice."""
        ...
