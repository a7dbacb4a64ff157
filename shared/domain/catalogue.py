"""The eleven endpoints: the only place that knows them. Routes, validation, topics and documents derive from it."""

from dataclasses import dataclass
from typing import Literal

from shared.domain import schemas
from shared.domain.form_schema import IMAGE_EDIT, IMAGE_VARIATION, TRANSCRIPTION, FormSchema
from shared.domain.schemas import JsonBody

StreamRule = Literal["stream", "stream_format", "ignored"]
"""Which switch asks for streaming and is refused: `stream: true`, `stream_format: "sse"`, or none."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One request type. Exactly one of `json` and `form` is set; `upstream_path` is relative to a `/v1` base URL."""

    request_type: str
    modality: str
    upstream_path: str
    summary: str
    stream_rule: StreamRule
    json: type[JsonBody] | None = None
    form: FormSchema | None = None

    @property
    def path(self) -> str:
        return f"/v1/async{self.upstream_path}"

    @property
    def known_fields(self) -> frozenset[str]:
        """Names of body fields or parts that are not extra parameters."""
        return self.form.known if self.form is not None else _KNOWN_JSON_FIELDS[self.request_type]


CATALOGUE: tuple[Endpoint, ...] = (
    Endpoint("text_completion", "text", "/completions", "Complete a text", "stream", schemas.TextCompletion),
    Endpoint(
        "chat_completion", "text", "/chat/completions", "Answer a conversation", "stream", schemas.ChatCompletion
    ),
    Endpoint("responses", "text", "/responses", "Create a model response", "stream", schemas.Responses),
    Endpoint("embedding", "embeddings", "/embeddings", "Embed texts as vectors", "ignored", schemas.Embedding),
    Endpoint("speech", "audio", "/audio/speech", "Speak a text", "stream_format", schemas.Speech),
    Endpoint("transcription", "audio", "/audio/transcriptions", "Write down speech", "stream", form=TRANSCRIPTION),
    Endpoint(
        "image_generation", "images", "/images/generations", "Make an image of a text", "stream",
        schemas.ImageGeneration,
    ),
    Endpoint("image_edit", "images", "/images/edits", "Change an image as a text says", "stream", form=IMAGE_EDIT),
    Endpoint(
        "image_variation", "images", "/images/variations", "Make variations of an image", "ignored",
        form=IMAGE_VARIATION,
    ),
    Endpoint("rerank", "rerank", "/rerank", "Order documents by relevance", "ignored", schemas.Rerank),
    Endpoint("ocr", "ocr", "/ocr", "Read the text of a document or image", "ignored", schemas.Ocr),
)  # fmt: skip

BY_TYPE: dict[str, Endpoint] = {endpoint.request_type: endpoint for endpoint in CATALOGUE}

MODALITIES: tuple[str, ...] = tuple(dict.fromkeys(endpoint.modality for endpoint in CATALOGUE))
"""Topic names and units of scaling."""

_KNOWN_JSON_FIELDS = {
    endpoint.request_type: frozenset(endpoint.json.__struct_fields__) for endpoint in CATALOGUE if endpoint.json
}
