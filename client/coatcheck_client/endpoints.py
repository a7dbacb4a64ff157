"""The eleven request types of the API and the names under which they may be asked for."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

ASYNC_PREFIX = "/v1/async/"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One request type: `name` is the path's tail and the name on the command line, `path` where jobs are submitted."""

    name: str
    request_type: str
    body: Literal["json", "multipart"] = "json"

    @property
    def path(self) -> str:
        return ASYNC_PREFIX + self.name


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("completions", "text_completion"),
    Endpoint("chat/completions", "chat_completion"),
    Endpoint("responses", "responses"),
    Endpoint("embeddings", "embedding"),
    Endpoint("audio/speech", "speech"),
    Endpoint("audio/transcriptions", "transcription", "multipart"),
    Endpoint("images/generations", "image_generation"),
    Endpoint("images/edits", "image_edit", "multipart"),
    Endpoint("images/variations", "image_variation", "multipart"),
    Endpoint("rerank", "rerank"),
    Endpoint("ocr", "ocr"),
)

_BY_NAME = {name: endpoint for endpoint in ENDPOINTS for name in (endpoint.name, endpoint.request_type)}


class UnknownRequestType(ValueError):
    """The name is none of the eleven request types."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        close = difflib.get_close_matches(self.name, _BY_NAME, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"unknown request type {self.name!r}: {hint}known: {', '.join(e.name for e in ENDPOINTS)}"


def endpoint_of(name: str) -> Endpoint:
    """The endpoint called `embedding`, `embeddings`, `/v1/embeddings` or `/v1/async/embeddings`."""
    short = name.removeprefix(ASYNC_PREFIX).removeprefix("/v1/").strip("/")
    endpoint = _BY_NAME.get(short)
    if endpoint is None:
        raise UnknownRequestType(name)
    return endpoint
