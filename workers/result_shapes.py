"""Makes what clients read of an answer: the result or the error of a job."""

from __future__ import annotations

import base64

import msgspec

from shared.domain.target import Target
from workers.error_classification import bad_answer
from workers.provider_interface import Answer, ProviderError
from workers.providers.openai.answer_checks import MAIN_FIELD, is_json, transcript
from workers.providers.openai.request_bodies import Fields, raw, read_fields

_IMAGES = frozenset({"image_generation", "image_edit", "image_variation"})
_NAMES_ITS_MODEL = MAIN_FIELD.keys() - {"transcription"}
_FLAT_IMAGE_FIELDS = ("background", "output_format", "quality", "size")
_NO_USAGE = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}


def shape_result(request_type: str, answer: Answer, target: Target, *, model_requested: str, latency_ms: int) -> bytes:
    """The `result` of a job that `target` answered. Raises ProviderError for an answer that is not what it says."""
    fields = _result_fields(request_type, answer)
    if request_type in _NAMES_ITS_MODEL and "model" not in fields:
        fields["model"] = raw(target.model)
    extra = {
        "request_type": request_type,
        "provider": target.provider,
        "model_requested": model_requested,
        "original_model_requested": model_requested,
        "resolved_model_used": target.model,
        "latency": latency_ms,
        "chunk_index": 0,
    }
    return msgspec.json.encode({**fields, "extra_fields": extra})


def shape_error(request_type: str, error: ProviderError, target: Target, *, model_requested: str) -> bytes:
    """The `error` of a failed job; fields that are not set are left out."""
    said = {"type": error.type, "code": error.code, "message": error.message, "param": error.param}
    extra = {
        "provider": target.provider,
        "model_requested": model_requested,
        "original_model_requested": model_requested,
        "resolved_model_used": target.model,
        "request_type": request_type,
        "error_type": error.error_type,
    }
    return msgspec.json.encode(
        {
            "is_bifrost_error": False,
            "status_code": error.status_code,
            "error": {name: value for name, value in said.items() if value is not None},
            "extra_fields": extra,
        }
    )


def _result_fields(request_type: str, answer: Answer) -> Fields:
    as_json = is_json(answer.media_type)
    if request_type == "speech" and not as_json:
        audio = msgspec.Raw(b'"%b"' % base64.b64encode(answer.body))  # its letters need no escapes, and copies are slow
        return {"audio": audio, "usage": raw(_NO_USAGE)}
    if request_type == "transcription" and not (as_json and answer.body.lstrip().startswith(b"{")):
        return {"text": raw(transcript(answer.media_type, answer.body))}
    try:
        fields = read_fields(answer.body) if answer.fields is None else dict(answer.fields)
        if request_type == "text_completion":
            fields.pop("created", None)
            fields.setdefault("system_fingerprint", raw(""))
        elif request_type in _IMAGES:
            fields = _image_fields(fields)
        if request_type in ("text_completion", "chat_completion") and b'"logprobs"' in answer.body:
            fields["choices"] = raw([_with_log_probs(choice) for choice in _objects(fields["choices"])])
    except (ValueError, KeyError) as error:
        raise bad_answer(f"not the JSON of {request_type}: {error}") from None
    return fields


def _image_fields(fields: Fields) -> Fields:
    nested: Fields = msgspec.json.decode(fields.pop("params", msgspec.Raw(b"{}")), type=Fields | None) or {}
    flat = {name: nested[name] for name in _FLAT_IMAGE_FIELDS if name in nested}
    images = [{"index": raw(index), **image} for index, image in enumerate(_objects(fields["data"]))]
    return {**flat, **fields, "data": raw(images)}


def _with_log_probs(choice: Fields) -> Fields:
    """The result API says `log_probs` where OpenAI says `logprobs`; clients of both read theirs."""
    found = choice.get("logprobs")
    return choice if found is None or bytes(found) == b"null" else {**choice, "log_probs": found}


def _objects(value: msgspec.Raw) -> list[Fields]:
    return msgspec.json.decode(value, type=list[Fields])
