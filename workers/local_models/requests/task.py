"""One call as a model sees it: its request, and whether anybody still waits for the answer."""

import threading
from typing import Protocol, TypeVar

import msgspec

from shared.domain.form import Form, FormError, parse_form
from workers.error_classification import bad_request
from workers.provider_interface import Answer, Call, ProviderError
from workers.providers.openai import request_bodies

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
        if self.abandoned:
            raise abandoned()

    def json(self, schema: type[T]) -> T:
        """The request, decoded. Raises ProviderError when it does not have this schema."""
        try:
            body, fields = self.call.content.data, dict[str, msgspec.Raw]
            if self.call.params:  # what a fallback changes
                changes = msgspec.json.decode(self.call.params, type=fields)
                body = msgspec.json.encode({**msgspec.json.decode(body, type=fields), **changes})
            return msgspec.json.decode(body, type=schema)
        except (msgspec.DecodeError, RecursionError) as error:
            raise bad_request(f"the request body does not fit: {error}") from None

    def form(self) -> Form:
        content_type, body = self.call.content.content_type, self.call.content.data
        if self.call.params:
            content_type, body = request_bodies.build(self.call, "local")
        try:
            return parse_form(body, content_type, max_text_bytes=len(body), max_file_bytes=len(body))
        except FormError as error:
            raise bad_request(error.message) from None


class Model(Protocol):
    """A loaded model. It answers one call after the other; raises ProviderError for a request that it cannot do."""

    def answer(self, task: Task) -> Answer: ...


def json_answer(result: object) -> Answer:
    return Answer(msgspec.json.encode(result), "application/json")


def abandoned() -> ProviderError:
    message = "the local model was stopped before it had finished"
    return ProviderError(message, 503, "bifrost_dropped", retryable=True)
