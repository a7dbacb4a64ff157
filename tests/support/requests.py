"""A valid request for each endpoint of the catalogue."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from shared.domain.catalogue import CATALOGUE, Endpoint
from shared.domain.form import Part, encode_form

JSON_BODIES: dict[str, dict[str, Any]] = {
    "text_completion": {"model": "openai/gpt-3.5-turbo-instruct", "prompt": "Name one river."},
    "chat_completion": {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "Give me a colour."}]},
    "responses": {"model": "openai/gpt-4o-mini", "input": "Give me a fruit."},
    "embedding": {"model": "openai/text-embedding-3-small", "input": ["red", "blue"]},
    "speech": {"model": "openai/tts-1", "input": "Good evening", "voice": "alloy"},
    "image_generation": {"model": "openai/dall-e-3", "prompt": "a paper boat"},
    "rerank": {
        "model": "cohere/rerank-english-v3.0", "query": "fast animal", "documents": ["snail", {"text": "cheetah"}],
    },
    "ocr": {"model": "openai/ocr", "document": {"type": "image_url", "image_url": "https://files.example/receipt.jpg"}},
}  # fmt: skip
_IMAGE = Part("image", "in.png", "image/png", b"\x89PNG\r\n\x1a\n")
FORMS: dict[str, list[Part]] = {
    "transcription": [
        Part("model", None, None, b"openai/whisper-1"), Part("file", "note.mp3", "audio/mpeg", b"ID3\x00\xff"),
        Part("language", None, None, b"en"),
    ],
    "image_edit": [
        Part("model", None, None, b"openai/dall-e-2"), _IMAGE, Part("prompt", None, None, b"add a moon"),
    ],
    "image_variation": [Part("model", None, None, b"openai/dall-e-2"), _IMAGE, Part("n", None, None, b"1")],
}  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """A body with its Content-Type."""

    endpoint: Endpoint
    body: bytes
    content_type: str

    @property
    def streams(self) -> bool:
        """Whether this endpoint knows a switch for streaming, which it refuses."""
        return self.endpoint.stream_rule != "ignored"

    def with_streaming(self) -> Sample:
        """The same request with every switch for streaming on."""
        if self.endpoint.form is not None:
            return _form(self.endpoint, [*FORMS[self.endpoint.request_type], Part("stream", None, None, b"true")])
        fields = JSON_BODIES[self.endpoint.request_type] | {"stream": True, "stream_format": "sse"}
        return Sample(self.endpoint, json.dumps(fields).encode(), self.content_type)


def _form(endpoint: Endpoint, parts: list[Part]) -> Sample:
    content_type, body = encode_form(parts)
    return Sample(endpoint, body, content_type)


def _sample(endpoint: Endpoint) -> Sample:
    if endpoint.form is not None:
        return _form(endpoint, FORMS[endpoint.request_type])
    return Sample(endpoint, json.dumps(JSON_BODIES[endpoint.request_type]).encode(), "application/json")


SAMPLES = {endpoint.request_type: _sample(endpoint) for endpoint in CATALOGUE}
EMBEDDINGS = "/v1/async/embeddings"
EMBEDDING = JSON_BODIES["embedding"]
