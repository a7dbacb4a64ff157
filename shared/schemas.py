"""The JSON bodies of the eight JSON request types: field names, JSON types and what must not be missing.

Types are strict; ranges and enum values are the provider's business. Unknown fields pass the decoder: they are extra
parameters. `missing` runs after decoding, in the order in which a client should mend its request.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

Object = dict[str, msgspec.Raw]
"""A JSON object whose inside is the provider's business; still checked to be well-formed."""

Number = int | float


class JsonBody(msgspec.Struct, kw_only=True):
    """What every JSON request may carry. `REQUIRED` names the fields that must be there beside the model."""

    REQUIRED: ClassVar[tuple[str, ...]] = ()

    model: str | None = None
    fallbacks: list[str | dict[str, Any]] | None = None
    stream: bool | None = None

    def missing(self, provider: str) -> str | None:
        """Say what is absent or empty, in words for the client; None when the request is complete.

        `provider` is the model's provider: some do not need every field.
        """
        raise AssertionError("each request type says what it requires")


def _absent(field: str, expected: str) -> str:
    return f"field '{field}' is missing or empty: expected {expected}"


class TextCompletion(JsonBody):
    REQUIRED = ("prompt",)

    prompt: str | list[str] | None = None
    best_of: int | None = None
    max_tokens: int | None = None
    n: int | None = None
    logprobs: int | None = None
    seed: int | None = None
    echo: bool | None = None
    frequency_penalty: Number | None = None
    presence_penalty: Number | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    logit_bias: dict[str, Number] | None = None
    stop: str | list[str] | None = None
    suffix: str | None = None
    user: str | None = None

    def missing(self, provider: str) -> str | None:
        return _absent("prompt", "a string or a list of strings") if self.prompt in (None, []) else None


class Message(msgspec.Struct):
    role: str
    content: str | list[Object] | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: list[Object] | None = None
    refusal: str | None = None


class ChatCompletion(JsonBody):
    REQUIRED = ("messages",)

    messages: list[Message] | None = None
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    frequency_penalty: Number | None = None
    presence_penalty: Number | None = None
    top_logprobs: int | None = None
    logprobs: bool | None = None
    parallel_tool_calls: bool | None = None
    store: bool | None = None
    n: int | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    logit_bias: dict[str, Number] | None = None
    metadata: Object | None = None
    modalities: list[str] | None = None
    audio: Object | None = None
    response_format: Object | None = None
    reasoning: Object | None = None
    reasoning_effort: str | None = None
    reasoning_max_tokens: int | None = None
    tools: list[Object] | None = None
    tool_choice: str | Object | None = None
    prediction: Object | None = None
    web_search_options: Object | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    truncation: str | None = None
    user: str | None = None
    verbosity: str | None = None
    stream_options: Object | None = None

    def missing(self, provider: str) -> str | None:
        return None if self.messages else _absent("messages", "a list with at least one message")


class Responses(JsonBody):
    REQUIRED = ("input",)

    input: str | list[Object] | None = None
    instructions: str | None = None
    conversation: str | Object | None = None
    previous_response_id: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    truncation: str | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    top_logprobs: int | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    background: bool | None = None
    parallel_tool_calls: bool | None = None
    store: bool | None = None
    include: list[str] | None = None
    metadata: Object | None = None
    reasoning: Object | None = None
    text: Object | None = None
    tools: list[Object] | None = None
    tool_choice: str | Object | None = None
    user: str | None = None

    def missing(self, provider: str) -> str | None:
        return _absent("input", "a string or a list of items") if self.input in (None, []) else None


class Embedding(JsonBody):
    REQUIRED = ("input",)

    input: str | list[str | int | list[int] | Object] | None = None
    encoding_format: str | None = None
    dimensions: int | None = None
    task_type: str | None = None
    title: str | None = None
    auto_truncate: bool | None = None
    user: str | None = None

    def missing(self, provider: str) -> str | None:
        return _absent("input", "a string, a list of strings or token ids") if self.input in (None, []) else None


class SpeakerVoice(msgspec.Struct):
    voice: str
    speaker: str | None = None


class Speech(JsonBody):
    REQUIRED = ("input",)

    input: str | None = None
    voice: str | list[SpeakerVoice] | None = None
    stream_format: str | None = None
    response_format: str | None = None
    speed: Number | None = None
    instructions: str | None = None
    language_code: str | None = None
    with_timestamps: bool | None = None
    enable_logging: bool | None = None
    optimize_streaming_latency: bool | None = None
    pronunciation_dictionary_locators: list[Object] | None = None

    def missing(self, provider: str) -> str | None:
        if not self.input:
            return _absent("input", "the text to speak")
        if not self.voice and provider != "elevenlabs":
            return _absent("voice", "a voice name")
        if isinstance(self.voice, list):
            empty = next((index for index, entry in enumerate(self.voice) if not entry.voice), None)
            return None if empty is None else _absent(f"voice[{empty}].voice", "a voice name")
        return None


class ImageGeneration(JsonBody):
    REQUIRED = ("prompt",)

    prompt: str | None = None
    n: int | None = None
    size: str | None = None
    quality: str | None = None
    style: str | None = None
    response_format: str | None = None
    background: str | None = None
    moderation: str | None = None
    partial_images: int | None = None
    output_compression: int | None = None
    output_format: str | None = None
    seed: int | None = None
    num_inference_steps: int | None = None
    negative_prompt: str | None = None
    aspect_ratio: str | None = None
    resolution: str | None = None
    user: str | None = None
    input_images: list[str] | None = None

    def missing(self, provider: str) -> str | None:
        return None if self.prompt else _absent("prompt", "a text that describes the image")


class Document(msgspec.Struct):
    text: str
    id: str | None = None
    meta: Object | None = None


class Rerank(JsonBody):
    REQUIRED = ("query", "documents")

    query: str | None = None
    documents: list[str | Document] | None = None
    top_n: int | None = None
    max_tokens_per_doc: int | None = None
    priority: int | None = None
    return_documents: bool | None = None

    def missing(self, provider: str) -> str | None:
        if not (self.query or "").strip():
            return _absent("query", "a text that is not blank")
        if not self.documents:
            return _absent("documents", "a list with at least one document")
        texts = (entry if isinstance(entry, str) else entry.text for entry in self.documents)
        blank = next((index for index, text in enumerate(texts) if not text.strip()), None)
        if blank is not None:
            return _absent(f"documents[{blank}]", "a text that is not blank")
        return (
            f"field 'top_n' must be at least 1, got {self.top_n}" if self.top_n is not None and self.top_n < 1 else None
        )


class OcrDocument(msgspec.Struct):
    type: str | None = None
    document_url: str | None = None
    image_url: str | None = None


class Ocr(JsonBody):
    REQUIRED = ("document",)

    document: OcrDocument | None = None
    id: str | None = None
    pages: list[int] | None = None
    include_image_base64: bool | None = None
    include_blocks: bool | None = None
    extract_header: bool | None = None
    extract_footer: bool | None = None
    image_limit: int | None = None
    image_min_size: int | None = None
    table_format: str | None = None
    confidence_scores_granularity: str | None = None
    bbox_annotation_format: str | Object | None = None
    document_annotation_format: str | Object | None = None
    document_annotation_prompt: str | None = None

    def missing(self, provider: str) -> str | None:
        if self.document is None:
            return _absent("document", "an object with 'type' and the matching URL")
        if not self.document.type:
            return _absent("document.type", "'document_url' or 'image_url'")
        if self.document.type == "document_url" and not self.document.document_url:
            return _absent("document.document_url", "a URL or a data URL")
        if self.document.type == "image_url" and not self.document.image_url:
            return _absent("document.image_url", "a URL or a data URL")
        return None
