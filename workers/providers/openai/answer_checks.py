"""Tells an answer from what only looks like one."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from workers.error_classification import bad_answer, from_upstream_error, read_upstream_error, redact
from workers.providers.openai.request_bodies import Fields, read_fields

MAIN_FIELD = {
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


def require_answer(request_type: str, media_type: str, body: bytes, secrets: Collection[str] = ()) -> Fields | None:
    """The fields of a 200's body, None where it is no object. Raises ProviderError unless it answers this type."""
    kind = media_type.partition(";")[0].strip().lower()
    if not body.strip():
        raise bad_answer("it is empty")
    if kind == "text/html":
        raise bad_answer(redact(read_upstream_error(body, kind).message, secrets))
    if request_type == "speech" and not is_json(kind):
        return None
    if request_type == "transcription" and (not is_json(kind) or body.lstrip().startswith(b'"')):
        transcript(media_type, body)
        return None
    try:
        fields = read_fields(body)
    except ValueError as error:
        raise bad_answer(f"not a JSON object: {error}") from None
    complaint = bytes(fields.get("error", b"null"))
    if complaint not in _NOTHING and not (request_type == "responses" and "output" in fields):
        said = read_upstream_error(body)
        raise from_upstream_error(said.status or 502, said, secrets=secrets)
    main = MAIN_FIELD.get(request_type)
    if main is not None and main not in fields:
        raise bad_answer(f"no '{main}' in it")
    if request_type == "speech" and not fields.keys() & {"audio", "audio_base64"}:
        raise bad_answer("JSON without audio")
    return fields


def is_json(media_type: str) -> bool:
    kind = media_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def transcript(media_type: str, body: bytes) -> str:
    """The text of a transcription that is no JSON object: plain, or one JSON string. Raises ProviderError."""
    try:
        return msgspec.json.decode(body, type=str) if is_json(media_type) else body.decode()
    except ValueError as error:
        raise bad_answer(f"no transcript: {error}") from None
