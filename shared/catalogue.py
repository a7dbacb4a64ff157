"""The eleven endpoints: the only place that knows them. Routes, validation, topics and documents derive from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from shared import form_schema, schemas
from shared.form_schema import FormSchema
from shared.schemas import JsonBody

ASYNC_PREFIX = "/v1/async"

StreamRule = Literal["stream", "stream_format", "ignored"]
"""Which switch asks for streaming and is refused: `stream: true`, `stream_format: "sse"`, or none."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One request type. Exactly one of `json` and `form` is set; `upstream_path` is relative to a `/v1` base URL."""

    path: str
    request_type: str
    modality: str
    upstream_path: str
    summary: str
    stream_rule: StreamRule
    json: type[JsonBody] | None = None
    form: FormSchema | None = None

    @property
    def known_fields(self) -> frozenset[str]:
        """Names of body fields or parts that are not extra parameters."""
        if self.form is not None:
            return self.form.known
        return _KNOWN_JSON_FIELDS[self.request_type]


CATALOGUE: tuple[Endpoint, ...] = (
    Endpoint(
        "/v1/async/completions", "text_completion", "text", "/completions", "Complete a text", "stream",
        json=schemas.TextCompletion,
    ),
    Endpoint(
        "/v1/async/chat/completions", "chat_completion", "text", "/chat/completions", "Answer a conversation", "stream",
        json=schemas.ChatCompletion,
    ),
    Endpoint(
        "/v1/async/responses", "responses", "text", "/responses", "Create a model response", "stream",
        json=schemas.Responses,
    ),
    Endpoint(
        "/v1/async/embeddings", "embedding", "embeddings", "/embeddings", "Embed texts as vectors", "ignored",
        json=schemas.Embedding,
    ),
    Endpoint(
        "/v1/async/audio/speech", "speech", "audio", "/audio/speech", "Speak a text", "stream_format",
        json=schemas.Speech,
    ),
    Endpoint(
        "/v1/async/audio/transcriptions", "transcription", "audio", "/audio/transcriptions", "Write down speech",
        "stream", form=form_schema.TRANSCRIPTION,
    ),
    Endpoint(
        "/v1/async/images/generations", "image_generation", "images", "/images/generations", "Make an image of a text",
        "stream", json=schemas.ImageGeneration,
    ),
    Endpoint(
        "/v1/async/images/edits", "image_edit", "images", "/images/edits", "Change an image as a text says", "stream",
        form=form_schema.IMAGE_EDIT,
    ),
    Endpoint(
        "/v1/async/images/variations", "image_variation", "images", "/images/variations", "Make variations of an image",
        "ignored", form=form_schema.IMAGE_VARIATION,
    ),
    Endpoint(
        "/v1/async/rerank", "rerank", "rerank", "/rerank", "Order documents by relevance", "ignored",
        json=schemas.Rerank,
    ),
    Endpoint(
        "/v1/async/ocr", "ocr", "ocr", "/ocr", "Read the text of a document or image", "ignored", json=schemas.Ocr,
    ),
)  # fmt: skip

BY_TYPE: dict[str, Endpoint] = {endpoint.request_type: endpoint for endpoint in CATALOGUE}

MODALITIES: tuple[str, ...] = tuple(dict.fromkeys(endpoint.modality for endpoint in CATALOGUE))
"""Topic names and units of scaling."""

_KNOWN_JSON_FIELDS = {
    endpoint.request_type: frozenset(endpoint.json.__struct_fields__) for endpoint in CATALOGUE if endpoint.json
}
