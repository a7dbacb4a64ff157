"""Turns a stored body into one for an OpenAI-compatible provider; values that do not change stay the client's bytes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from shared.domain.catalogue import BY_TYPE
from shared.domain.form import Part, encode_form, parse_form
from workers import error_classification
from workers.provider_interface import Call

Fields = dict[str, msgspec.Raw]
_decoder = msgspec.json.Decoder(Fields)  # to look at the type each time costs more than a small body

_OURS = frozenset({"fallbacks", "stream", "stream_options"})
"""Fields that speak to this service: jobs are never streamed."""
_IMAGE_NAMES = ("image", "image[]")
_UNTYPED = frozenset({"", "application/octet-stream", "binary/octet-stream"})
_BEGINNINGS = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
}
_MANY = 1 << 62  # the edge bounds bodies; here a stored one only has to be taken apart
_BOUNDS = {"max_parts": _MANY, "max_text_bytes": _MANY, "max_file_bytes": _MANY, "max_header_bytes": 1 << 20}


def build(call: Call, provider: str) -> tuple[str, bytes]:
    """Returns Content-Type and body. Raises ProviderError when the stored body cannot be read."""
    if call.content.kind == "multipart":
        return _form(call)
    return "application/json", _json(call, provider)


def read_fields(body: bytes) -> Fields:
    """A JSON object with its values untouched. Raises ValueError unless it is well-formed UTF-8 all through."""
    body.decode()  # msgspec takes any bytes inside the strings that it skips
    try:
        return _decoder.decode(body)
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None


def _json(call: Call, provider: str) -> bytes:
    try:
        fields = read_fields(call.content.data)
        overrides = read_fields(call.params) if call.params else {}
    except ValueError as error:
        raise error_classification.bad_request(f"the stored request is no JSON object: {error}") from None
    known = BY_TYPE[call.request_type].known_fields
    kept = {name: value for name, value in fields.items() if call.extra_params or name in known}
    kept.update(overrides)
    for name in _OURS:
        kept.pop(name, None)
    kept["model"] = raw(call.model)
    adapt = _ADAPTERS.get(call.request_type)
    if adapt is not None:
        try:
            adapt(kept, provider)
        except ValueError as error:
            raise error_classification.bad_request(f"the request does not fit {call.request_type}: {error}") from None
    return msgspec.json.encode(kept)


def _form(call: Call) -> tuple[str, bytes]:
    try:
        overrides = _overrides(call.params)
        parts = parse_form(call.content.data, call.content.content_type, **_BOUNDS).parts
    except ValueError as error:
        raise error_classification.bad_request(f"the stored request is no form: {error}") from None
    texts = {**overrides, "model": call.model.encode()}
    replaced = {*texts, *_OURS}
    kept: list[Part] = []
    for part in _with_images(call.request_type, parts):
        if part.filename is not None or part.name not in replaced:
            kept.append(part)
        elif part.name in texts:  # in the place of the first one of this name
            kept.append(Part(part.name, None, None, texts.pop(part.name)))
    return encode_form([*kept, *(Part(name, None, None, value) for name, value in texts.items())])


def _overrides(params: bytes) -> dict[str, bytes]:
    fields = read_fields(params) if params else {}
    values = {name: msgspec.json.decode(fields[name]) for name in fields if name not in _OURS}
    return {name: v.encode() if isinstance(v, str) else msgspec.json.encode(v) for name, v in values.items()}


def _with_images(request_type: str, parts: Sequence[Part]) -> list[Part]:
    """Image files are `image`, or `image[]` for several; a variation takes one, rather an `image[]`."""
    if request_type not in ("image_edit", "image_variation"):
        return list(parts)
    images = [part for part in parts if part.filename is not None and part.name in _IMAGE_NAMES]
    if request_type == "image_variation":
        images = sorted(images, key=lambda part: part.name != "image[]")[:1]
        name = "image"
    else:
        name = "image[]" if len(images) > 1 else images[0].name if images else ""
    found: list[Part] = []
    for part in parts:
        if any(part is image for image in images):
            found.append(_typed(msgspec.structs.replace(part, name=name)))
        elif part.filename is None or part.name not in _IMAGE_NAMES:
            found.append(_typed(part))
    return found


def _typed(part: Part) -> Part:
    """A file that the client gave no type, with the one that its first bytes tell."""
    if part.filename is None or (part.content_type or "").strip().lower() not in _UNTYPED:
        return part
    is_webp = part.data[:4] == b"RIFF" and part.data[8:12] == b"WEBP"
    known = (kind for kind, beginnings in _BEGINNINGS.items() if part.data.startswith(beginnings))
    found = "image/webp" if is_webp else next(known, None)
    return part if found is None else msgspec.structs.replace(part, content_type=found)


def _adapt_chat(fields: Fields, provider: str) -> None:
    """OpenAI knows the newer names of the token limit and takes the effort flat; OpenRouter takes the object."""
    if "max_completion_tokens" in fields:
        fields.pop("max_tokens", None)
    elif provider == "openai" and "max_tokens" in fields:
        fields["max_completion_tokens"] = fields.pop("max_tokens")
    if provider == "openrouter" or "reasoning" not in fields:
        return
    reasoning = msgspec.json.decode(fields.pop("reasoning"), type=Fields | None) or {}
    if "effort" in reasoning:
        fields.setdefault("reasoning_effort", reasoning["effort"])


def _adapt_responses(fields: Fields, provider: str) -> None:
    """The job is the background: the provider must answer with the result itself."""
    fields.pop("background", None)


def _adapt_rerank(fields: Fields, provider: str) -> None:
    """Documents as texts, which every server takes; `result_shapes` puts them into the answer when asked for."""
    fields.pop("return_documents", None)
    if "documents" in fields:
        fields["documents"] = raw([entry["text"] for entry in documents_of(fields["documents"])])


_ADAPTERS = {"chat_completion": _adapt_chat, "responses": _adapt_responses, "rerank": _adapt_rerank}


def documents_of(documents: msgspec.Raw | bytes) -> list[Fields]:
    """The submitted documents of a rerank as objects with `text`. Raises ValueError."""
    entries = msgspec.json.decode(documents, type=list[str | Fields])
    objects = [{"text": raw(entry)} if isinstance(entry, str) else entry for entry in entries]
    if not all("text" in entry for entry in objects):
        raise ValueError("every document needs 'text'")
    return objects


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
