"""Tells an answer from what only looks like one: a 200 may carry an error, a page, half a JSON or nothing."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from workers.providers import errors
from workers.providers.bodies import Fields, read_fields

_MAIN_FIELD = {
    "text_completion": "choices",
    "chat_completion": "choices",
    "responses": "output",
    "embedding": "data",
    "image_generation": "data",
    "image_edit": "data",
    "image_variation": "data",
    "rerank": "results",
    "ocr": "pages",
    "transcription": "text",
}
_NOTHING = (b"null", b"false", b'""', b"{}", b"[]")


def require_answer(request_type: str, media_type: str, body: bytes, secrets: Collection[str] = ()) -> None:
    """Raises ProviderError unless a 200's body is an answer of this request type."""
    kind = media_type.partition(";")[0].strip().lower()
    if not body.strip():
        raise errors.bad_answer("it is empty")
    if kind == "text/html":
        raise errors.bad_answer(errors.redact(errors.read_complaint(body, kind).message, secrets))
    if request_type == "speech" and not is_json(kind):
        return
    if request_type == "transcription" and (not is_json(kind) or body.lstrip().startswith(b'"')):
        transcript(media_type, body)
        return
    fields = _fields(body)
    complaint = bytes(fields.get("error", b"null"))
    if complaint not in _NOTHING and not (request_type == "responses" and "output" in fields):
        said = errors.read_complaint(body)
        raise errors.from_complaint(said.status or 502, said, secrets=secrets)
    main = _MAIN_FIELD.get(request_type)
    if main is not None and main not in fields:
        raise errors.bad_answer(f"no '{main}' in it")
    if request_type == "speech" and not fields.keys() & {"audio", "audio_base64"}:
        raise errors.bad_answer("JSON without audio")


def is_json(media_type: str) -> bool:
    """Whether a Content-Type means JSON."""
    kind = media_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def transcript(media_type: str, body: bytes) -> str:
    """The text of a transcription that is no JSON object: plain, or one JSON string. Raises ProviderError."""
    try:
        return msgspec.json.decode(body, type=str) if is_json(media_type) else body.decode()
    except ValueError as error:
        raise errors.bad_answer(f"no transcript: {error}") from None


def _fields(body: bytes) -> Fields:
    try:
        return read_fields(body)
    except ValueError as error:
        raise errors.bad_answer(f"not a JSON object: {error}") from None
