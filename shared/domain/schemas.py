"""The bodies of the eight JSON request types: field names, JSON types and what must not be missing.

Ranges and enum values are the provider's business. Unknown fields pass the decoder: they are extra parameters.
"""

from typing import Any, ClassVar

import msgspec

Object = dict[str, msgspec.Raw]
"""A JSON object whose inside is the provider's business; still checked to be well-formed."""
Number = int | float


class JsonBody(msgspec.Struct, kw_only=True):
    """What every JSON request may carry. `REQUIRED`: fields that must not be `EMPTY`, and what is expected there."""

    REQUIRED: ClassVar[dict[str, str]] = {}
    EMPTY: ClassVar[tuple[object, ...]] = (None, [])

    model: str | None = None
    fallbacks: list[str | dict[str, Any]] | None = None
    stream: bool | None = None

    def missing(self, provider: str) -> str | None:
        """Say what is absent or empty, in words for the client. Some providers do not need every field."""
        for field, expected in self.REQUIRED.items():
            if getattr(self, field) in self.EMPTY:
                return _absent(field, expected)
        return None


def _absent(field: str, expected: str) -> str:
    return f"field '{field}' is missing or empty: expected {expected}"


class TextCompletion(JsonBody):
    REQUIRED: ClassVar = {"prompt": "a string or a list of strings"}
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


class Message(msgspec.Struct):
    role: str
    content: str | list[Object] | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: list[Object] | None = None
    refusal: str | None = None


class _Conversation(JsonBody):
    temperature: Number | None = None
    top_p: Number | None = None
    top_logprobs: int | None = None
    parallel_tool_calls: bool | None = None
    store: bool | None = None
    metadata: Object | None = None
    reasoning: Object | None = None
    tools: list[Object] | None = None
    tool_choice: str | Object | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    truncation: str | None = None
    user: str | None = None


class ChatCompletion(_Conversation):
    REQUIRED: ClassVar = {"messages": "a list with at least one message"}
    messages: list[Message] | None = None
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    frequency_penalty: Number | None = None
    presence_penalty: Number | None = None
    logprobs: bool | None = None
    n: int | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    logit_bias: dict[str, Number] | None = None
    modalities: list[str] | None = None
    audio: Object | None = None
    response_format: Object | None = None
    reasoning_effort: str | None = None
    reasoning_max_tokens: int | None = None
    prediction: Object | None = None
    web_search_options: Object | None = None
    verbosity: str | None = None
    stream_options: Object | None = None


class Responses(_Conversation):
    REQUIRED: ClassVar = {"input": "a string or a list of items"}
    input: str | list[Object] | None = None
    instructions: str | None = None
    conversation: str | Object | None = None
    previous_response_id: str | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    background: bool | None = None
    include: list[str] | None = None
    text: Object | None = None


class Embedding(JsonBody):
    REQUIRED: ClassVar = {"input": "a string, a list of strings or token ids"}
    input: str | list[str | int | list[int] | Object] | None = None
    encoding_format: str | None = None
    dimensions: int | None = None
    task_type: str | None = None
    title: str | None = None
    auto_truncate: bool | None = None
    user: str | None = None


class SpeakerVoice(msgspec.Struct):
    voice: str
    speaker: str | None = None


class Speech(JsonBody):
    REQUIRED: ClassVar = {"input": "the text to speak"}
    EMPTY = (None, "")
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
        if problem := super().missing(provider):
            return problem
        if not self.voice and provider != "elevenlabs":
            return _absent("voice", "a voice name")
        if isinstance(self.voice, list):
            empty = next((index for index, entry in enumerate(self.voice) if not entry.voice), None)
            return None if empty is None else _absent(f"voice[{empty}].voice", "a voice name")
        return None


class ImageGeneration(JsonBody):
    REQUIRED: ClassVar = {"prompt": "a text that describes the image"}
    EMPTY = (None, "")
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


class Document(msgspec.Struct):
    text: str
    id: str | None = None
    meta: Object | None = None


class Rerank(JsonBody):
    REQUIRED: ClassVar = {"query": "a text that is not blank", "documents": "a list with at least one document"}
    query: str | None = None
    documents: list[str | Document] | None = None
    top_n: int | None = None
    max_tokens_per_doc: int | None = None
    priority: int | None = None
    return_documents: bool | None = None

    def missing(self, provider: str) -> str | None:
        if self.query is not None and not self.query.strip():
            return _absent("query", self.REQUIRED["query"])
        if problem := super().missing(provider):
            return problem
        for index, entry in enumerate(self.documents or ()):
            if not (entry if isinstance(entry, str) else entry.text).strip():
                return _absent(f"documents[{index}]", "a text that is not blank")
        if self.top_n is not None and self.top_n < 1:
            return f"field 'top_n' must be at least 1, got {self.top_n}"
        return None


class OcrDocument(msgspec.Struct):
    type: str | None = None
    document_url: str | None = None
    image_url: str | None = None


class Ocr(JsonBody):
    REQUIRED: ClassVar = {"document": "an object with 'type' and the matching URL"}
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
            return super().missing(provider)
        kind = self.document.type
        if not kind:
            return _absent("document.type", "'document_url' or 'image_url'")
        if kind in ("document_url", "image_url") and not getattr(self.document, kind):
            return _absent(f"document.{kind}", "a URL or a data URL")
        return None
