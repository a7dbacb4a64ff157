"""Turns a client's stored body into the request body for an OpenAI-compatible provider, touching as little as it can.

Values that are not changed stay the bytes the client sent, so big numbers and odd keys survive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from shared.catalogue import BY_TYPE
from shared.content import Content
from shared.form import Part, encode_form, parse_form
from workers.providers import errors, rerank
from workers.providers.base import Call

Fields = dict[str, msgspec.Raw]

_OURS = frozenset({"fallbacks", "stream", "stream_options"})
"""Fields that speak to this service: jobs are never streamed."""
_MAX_BODY_BYTES = 1 << 62  # the edge bounds bodies; here a stored one only has to be taken apart


def build(call: Call, provider: str) -> tuple[str, bytes]:
    """Returns Content-Type and body. Raises ProviderError when the stored body cannot be read."""
    if call.content.kind == "multipart":
        return _form(call)
    return "application/json", _json(call, provider)


def read_fields(body: bytes) -> Fields:
    """A JSON object with its values untouched. Raises ValueError unless it is well-formed UTF-8 all through."""
    body.decode()  # msgspec takes any bytes inside the strings that it skips
    try:
        return msgspec.json.decode(body, type=Fields)
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None


def _json(call: Call, provider: str) -> bytes:
    try:
        fields = read_fields(call.content.data)
        overrides = read_fields(call.params) if call.params else {}
    except ValueError as error:
        raise errors.bad_request(f"the stored request is no JSON object: {error}") from None
    known = BY_TYPE[call.request_type].known_fields
    kept = {name: value for name, value in fields.items() if call.extra_params or name in known}
    kept.update(overrides)
    for name in _OURS:
        kept.pop(name, None)
    kept["model"] = _raw(call.model)
    adapt = _ADAPTERS.get(call.request_type)
    if adapt is not None:
        try:
            adapt(kept, provider)
        except ValueError as error:
            raise errors.bad_request(f"the request does not fit {call.request_type}: {error}") from None
    return msgspec.json.encode(kept)


def _form(call: Call) -> tuple[str, bytes]:
    try:
        overrides = _overrides(call.params)
        parts = _parts(call.content)
    except ValueError as error:
        raise errors.bad_request(f"the stored request is no form: {error}") from None
    texts = {**overrides, "model": call.model.encode()}
    replaced = {*texts, *_OURS}
    kept: list[Part] = []
    for part in _passing(call, parts):
        if part.filename is not None or part.name not in replaced:
            kept.append(part)
        elif part.name in texts:  # in the place of the first one of this name
            kept.append(Part(part.name, None, None, texts.pop(part.name)))
    return encode_form([*kept, *(Part(name, None, None, value) for name, value in texts.items())])


def _passing(call: Call, parts: Iterable[Part]) -> Iterator[Part]:
    """Files and known texts as they are; unknown texts are extra parameters: when asked for, the first if not empty."""
    known = BY_TYPE[call.request_type].known_fields
    seen: set[str] = set()
    for part in parts:
        if part.filename is not None or part.name in known:
            yield part
        elif call.extra_params and part.data and part.name not in seen:
            seen.add(part.name)
            yield part


def _overrides(params: bytes) -> dict[str, bytes]:
    fields = read_fields(params) if params else {}
    values = {name: msgspec.json.decode(value) for name, value in fields.items() if name not in _OURS}
    return {
        name: value.encode() if isinstance(value, str) else msgspec.json.encode(value) for name, value in values.items()
    }


def _parts(content: Content) -> list[Part]:
    return parse_form(
        content.data,
        content.content_type,
        max_parts=_MAX_BODY_BYTES,
        max_text_bytes=_MAX_BODY_BYTES,
        max_file_bytes=_MAX_BODY_BYTES,
        max_header_bytes=1 << 20,
    ).parts


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
    """Every server takes documents as texts, only some as objects; who asked for them back gets them from us."""
    fields.pop("return_documents", None)
    if "documents" in fields:
        fields["documents"] = _raw([entry["text"] for entry in rerank.documents_of(fields["documents"])])


_ADAPTERS = {"chat_completion": _adapt_chat, "responses": _adapt_responses, "rerank": _adapt_rerank}


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
