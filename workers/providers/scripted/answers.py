"""Scripted answers in OpenAI's shapes, from the request alone: a result that reached the wrong job can be told."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from shared.domain.content import Content
from shared.domain.form import FormError, parse_form
from workers.provider_interface import Answer

_CREATED = 1_700_000_000
_DEFAULT_TEXT_BYTES = 64
_DEFAULT_DIMENSIONS = 16
_MAX_DIMENSIONS = 1_000_000
_DEFAULT_AUDIO_BYTES = 2400
_WORDS = "the quick brown fox jumps over the lazy dog and comes back for its ticket "
_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def read_request(content: Content) -> dict[str, Any]:
    """The fields of a request body. Files of a form count by their size only. Raises ValueError."""
    if content.kind == "multipart":
        try:
            form = parse_form(content.data, content.content_type)
            return {part.name: part.text if part.filename is None else len(part.data) for part in form.parts}
        except FormError as error:
            raise ValueError(error.message) from None
    try:
        return msgspec.json.decode(content.data, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"not a JSON object: {error}") from None


def answer_to(request_type: str, fields: Mapping[str, Any], model: str, size: int) -> Answer:
    """The answer of one request type. `size`: bytes of content, 0 for an ordinary size. ValueError: unfit fields."""
    try:
        made = _MAKERS[request_type](fields, model, size)
    except (TypeError, AttributeError, LookupError) as error:
        raise ValueError(f"the request does not fit {request_type}: {error}") from None
    return made if isinstance(made, Answer) else Answer(msgspec.json.encode(made), "application/json")


def _text_completion(fields: Mapping[str, Any], model: str, size: int) -> object:
    choice = {"index": 0, "text": _reply(fields.get("prompt"), size), "finish_reason": "stop"}
    head = {"id": f"cmpl-{_mark(fields)}", "object": "text_completion", "created": _CREATED, "model": model}
    return {**head, "choices": [choice], "usage": _usage(5, 12)}


def _chat_completion(fields: Mapping[str, Any], model: str, size: int) -> object:
    messages = fields.get("messages") or [{}]
    content = messages[-1].get("content") if isinstance(messages[-1], dict) else ""
    message = {"role": "assistant", "content": _reply(content, size)}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    head = {"id": f"chatcmpl-{_mark(fields)}", "object": "chat.completion", "created": _CREATED, "model": model}
    return {**head, "system_fingerprint": "fp_scripted", "choices": [choice], "usage": _usage(9, 12)}


def _responses(fields: Mapping[str, Any], model: str, size: int) -> object:
    text = {"type": "output_text", "text": _reply(fields.get("input"), size), "annotations": []}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [text]}
    head = {"id": f"resp_{_mark(fields)}", "object": "response", "created_at": _CREATED, "model": model}
    usage = {"input_tokens": 9, "output_tokens": 12, "total_tokens": 21}
    return {**head, "status": "completed", "output": [message], "usage": usage}


def _embedding(fields: Mapping[str, Any], model: str, size: int) -> object:
    given = fields.get("input")
    inputs = given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]
    asked = fields.get("dimensions") or size // 8 or _DEFAULT_DIMENSIONS
    dimensions = max(1, min(asked, _MAX_DIMENSIONS))
    as_text = fields.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(entry, dimensions, as_text)}
        for index, entry in enumerate(inputs)
    ]
    usage = {"prompt_tokens": len(inputs), "total_tokens": len(inputs)}
    return {"object": "list", "model": model, "data": data, "usage": usage}


def _speech(fields: Mapping[str, Any], model: str, size: int) -> Answer:
    return Answer(_tone(zlib.crc32(str(fields.get("input")).encode()) % 251, size or _DEFAULT_AUDIO_BYTES), "audio/wav")


def _transcription(fields: Mapping[str, Any], model: str, size: int) -> object:
    text = _reply(f"{fields.get('file', 0)} bytes of sound {fields.get('prompt', '')}".rstrip(), size)
    shape = fields.get("response_format") or "json"
    if shape in ("text", "srt", "vtt"):
        return Answer(text.encode(), "text/plain; charset=utf-8")
    if shape == "json":
        return {"text": text, "usage": {"type": "duration", "seconds": 2}}
    words = [{"word": "the", "start": 0.0, "end": 0.4}]
    return {"task": "transcribe", "language": "english", "duration": 2.4, "text": text, "words": words, "segments": []}


def _image(fields: Mapping[str, Any], model: str, size: int) -> object:
    pixels = base64.b64encode(_PIXEL.ljust(size, b"\0")).decode()
    image = {"b64_json": pixels, "revised_prompt": str(fields.get("prompt", ""))[:200]}
    count = max(1, min(int(fields.get("n") or 1), 10))
    usage = {"input_tokens": 50, "output_tokens": 50, "total_tokens": 100}
    return {"created": _CREATED, "size": str(fields.get("size", "1024x1024")), "data": [image] * count, "usage": usage}


def _rerank(fields: Mapping[str, Any], model: str, size: int) -> object:
    documents = fields.get("documents") or []
    scored = [
        {"index": index, "relevance_score": zlib.crc32(str(document).encode()) / 2**32}
        for index, document in enumerate(documents)
    ]
    scored.sort(key=lambda result: -result["relevance_score"])
    return {"id": f"rr-{_mark(fields)}", "model": model, "results": scored[: fields.get("top_n") or len(scored)]}


def _ocr(fields: Mapping[str, Any], model: str, size: int) -> object:
    dimensions = {"dpi": 200, "height": 1100, "width": 850}
    page = {"index": 0, "markdown": f"# {_reply(str(fields.get('document')), size)}", "dimensions": dimensions}
    return {"model": model, "pages": [page], "usage_info": {"pages_processed": 1, "doc_size_bytes": 1234}}


_MAKERS: dict[str, Callable[[Mapping[str, Any], str, int], object]] = {
    "text_completion": _text_completion,
    "chat_completion": _chat_completion,
    "responses": _responses,
    "embedding": _embedding,
    "speech": _speech,
    "transcription": _transcription,
    **dict.fromkeys(("image_generation", "image_edit", "image_variation"), _image),
    "rerank": _rerank,
    "ocr": _ocr,
}


def _reply(asked: object, size: int) -> str:
    start = f"Scripted answer to: {asked if isinstance(asked, str) else json.dumps(asked)[:200]}"[:220] + " "
    return (start + _filler(size or _DEFAULT_TEXT_BYTES))[: size or len(start) + _DEFAULT_TEXT_BYTES]


@lru_cache(maxsize=4)
def _filler(size: int) -> str:
    return _WORDS * (size // len(_WORDS) + 1)


def vector_head(entry: object) -> float:
    """The first number of a vector, which tells what was embedded: 53 bits, as many as a JSON number keeps."""
    return (int.from_bytes(hashlib.blake2b(str(entry).encode(), digest_size=8).digest()) >> 11) / 2**53


def _vector(entry: object, dimensions: int, as_text: bool) -> list[float] | str:
    numbers = [vector_head(entry), *_tail(dimensions - 1)]
    return base64.b64encode(struct.pack(f"<{dimensions}f", *numbers)).decode() if as_text else numbers


@lru_cache(maxsize=4)
def _tail(length: int) -> tuple[float, ...]:
    return tuple(round((index * 37 % 200 - 100) / 1000, 4) for index in range(length))


def _tone(pitch: int, size: int) -> bytes:
    wave = bytes(index * pitch & 0xFF for index in range(256))
    samples = (wave * (size // 256 + 1))[: max(size - 44, 0)]
    form = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", 36 + len(samples), b"WAVE", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8)
    return form + struct.pack("<4sI", b"data", len(samples)) + samples


def _mark(fields: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(str(sorted(fields.items(), key=lambda item: item[0])).encode()):08x}"


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
