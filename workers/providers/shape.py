"""Makes what clients read: the result of a completed job from a provider's answer, the error of a failed one."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from workers.providers import errors
from workers.providers.answers import is_json, transcript
from workers.providers.base import Answer, ProviderError
from workers.providers.bodies import Fields, read_fields

_IMAGES = frozenset({"image_generation", "image_edit", "image_variation"})
_FLAT_IMAGE_FIELDS = ("background", "output_format", "quality", "size")
_NAMES_ITS_MODEL = _IMAGES | {"text_completion", "chat_completion", "responses", "embedding", "rerank", "ocr"}
_NO_USAGE = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}


def shape_result(
    request_type: str,
    answer: Answer,
    *,
    provider: str,
    model_requested: str,
    resolved_model: str,
    latency_ms: int,
) -> bytes:
    """The `result` of a completed job. Raises ProviderError when the answer is not what its media type says.

    `model_requested` is the client's model without its prefix, `resolved_model` the one that answered.
    """
    fields = _result_fields(request_type, answer)
    if request_type in _NAMES_ITS_MODEL and "model" not in fields:
        fields["model"] = _raw(resolved_model)
    extra = {
        "request_type": request_type,
        "provider": provider,
        "model_requested": model_requested,
        "original_model_requested": model_requested,
        "resolved_model_used": resolved_model,
        "latency": latency_ms,
        "chunk_index": 0,
    }
    return msgspec.json.encode({**fields, "extra_fields": extra})


def shape_error(
    error: ProviderError, *, request_type: str, provider: str, model_requested: str, resolved_model: str
) -> bytes:
    """The `error` of a failed job; fields that are not set are left out."""
    said = {"type": error.type, "code": error.code, "message": error.message, "param": error.param}
    return msgspec.json.encode(
        {
            "is_bifrost_error": False,
            "status_code": error.status_code,
            "error": {name: value for name, value in said.items() if value is not None},
            "extra_fields": {
                "provider": provider,
                "model_requested": model_requested,
                "original_model_requested": model_requested,
                "resolved_model_used": resolved_model,
                "request_type": request_type,
                "error_type": error.error_type,
            },
        }
    )


def _result_fields(request_type: str, answer: Answer) -> Fields:
    as_json = is_json(answer.media_type)
    if request_type == "speech" and not as_json:
        audio = msgspec.Raw(b'"%b"' % base64.b64encode(answer.body))  # its letters need no escapes, and copies are slow
        return {"audio": audio, "usage": _raw(_NO_USAGE)}
    if request_type == "transcription" and not (as_json and answer.body.lstrip().startswith(b"{")):
        return {"text": _raw(transcript(answer.media_type, answer.body))}
    return _json_fields(request_type, answer.body)


def _json_fields(request_type: str, body: bytes) -> Fields:
    try:
        fields = read_fields(body)
        if request_type == "text_completion":
            fields.pop("created", None)
            fields.setdefault("system_fingerprint", _raw(""))
        elif request_type in _IMAGES:
            fields = _image_fields(fields)
        if request_type in ("text_completion", "chat_completion") and b'"logprobs"' in body:
            fields["choices"] = _raw([_with_log_probs(choice) for choice in _objects(fields["choices"])])
    except (ValueError, KeyError) as error:
        raise errors.bad_answer(f"not the JSON of {request_type}: {error}") from None
    return fields


def _image_fields(fields: Fields) -> Fields:
    """Every image gets its index, and what is known about all of them stands beside `data`."""
    nested: Fields = msgspec.json.decode(fields.pop("params", msgspec.Raw(b"{}")), type=Fields | None) or {}
    flat = {name: nested[name] for name in _FLAT_IMAGE_FIELDS if name in nested}
    images: list[dict[str, Any]] = [
        {"index": msgspec.Raw(str(index).encode()), **image} for index, image in enumerate(_objects(fields["data"]))
    ]
    return {**flat, **fields, "data": _raw(images)}


def _with_log_probs(choice: Fields) -> Fields:
    """The result API says `log_probs` where OpenAI says `logprobs`; clients of both read theirs."""
    found = choice.get("logprobs")
    return choice if found is None or bytes(found) == b"null" else {**choice, "log_probs": found}


def _objects(value: msgspec.Raw) -> list[Fields]:
    return msgspec.json.decode(value, type=list[Fields])


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
