"""One call as a model sees it: its request, and whether anybody still waits for the answer."""

import threading
from typing import Protocol, TypeVar

import msgspec

from shared.form import Form, FormError, parse_form
from workers.providers import bodies
from workers.providers.base import Answer, Call, ProviderError

T = TypeVar("T")


class Task:
    """A call to a model. Models ask `stop_if_abandoned` wherever they can stop: native code cannot be interrupted."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self._abandoned = threading.Event()

    @property
    def abandoned(self) -> bool:
        """True when nobody waits any more: the time is up, the caller has gone, or the worker stops."""
        return self._abandoned.is_set()

    def abandon(self) -> None:
        """Asks the model to stop. Safe from any thread."""
        self._abandoned.set()

    def stop_if_abandoned(self) -> None:
        """Raises ProviderError when nobody waits any more."""
        if self.abandoned:
            raise abandoned()

    def json(self, schema: type[T]) -> T:
        """The request, decoded. Raises ProviderError when it does not have this schema."""
        try:
            return msgspec.json.decode(self._body(), type=schema)
        except (msgspec.DecodeError, RecursionError) as error:
            raise invalid(f"the request body does not fit: {error}") from None

    def form(self) -> Form:
        """The request, parsed as a form. Raises ProviderError when it is none."""
        content_type, body = self.call.content.content_type, self.call.content.data
        if self.call.params:
            content_type, body = bodies.build(self.call, "local")
        try:
            return parse_form(body, content_type, max_text_bytes=len(body), max_file_bytes=len(body))
        except FormError as error:
            raise invalid(error.message) from None

    def _body(self) -> bytes:
        """The client's body, with what a fallback's parameters change."""
        body = self.call.content.data
        if not self.call.params:
            return body
        fields = dict[str, msgspec.Raw]
        changed = {**msgspec.json.decode(body, type=fields), **msgspec.json.decode(self.call.params, type=fields)}
        return msgspec.json.encode(changed)


class Model(Protocol):
    """A loaded model. It answers one call after the other."""

    def answer(self, task: Task) -> Answer:
        """Answers one call. Raises ProviderError for a request that this model cannot do."""
        ...


def json_answer(result: object) -> Answer:
    """A result as JSON."""
    return Answer(msgspec.json.encode(result), "application/json")


def invalid(message: str) -> ProviderError:
    """The caller's request cannot be done as it stands; trying again would not help."""
    return ProviderError(
        message, status_code=400, error_type="caller_invalid_request", type="invalid_request_error", retryable=False
    )


def abandoned() -> ProviderError:
    """The call was given up before it was done."""
    return ProviderError(
        "the local model was stopped before it had finished",
        status_code=503,
        error_type="bifrost_dropped",
        retryable=True,
    )
