"""Makes what clients read of an answer: the result or the error of a job."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from shared.domain.target import Target
from workers.provider_errors import bad_answer
from workers.provider_interface import Answer, ProviderError
from workers.providers.openai.answer_checks import MAIN_FIELD, is_json, transcript
from workers.providers.openai.request_bodies import Fields, documents_of, raw, read_fields

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


class _Asked(msgspec.Struct):
    documents: msgspec.Raw = msgspec.Raw(b"[]")
    return_documents: bool | None = None


def uniform_rerank(answer: bytes, request: bytes) -> bytes:
    """Every server's shape as `{results: [{index, relevance_score, document?}]}`. Raises ValueError."""
    decoded: Any = msgspec.json.decode(answer, type=list[Fields] | Fields)
    fields: Fields = {} if isinstance(decoded, list) else decoded
    listed = decoded if isinstance(decoded, list) else fields.pop("results", None) or fields.pop("data", None)
    if listed is None:
        raise ValueError("no 'results' in it")
    results = listed if isinstance(listed, list) else _objects(listed)
    asked = msgspec.json.decode(request, type=_Asked)
    documents = documents_of(asked.documents) if asked.return_documents else None
    return msgspec.json.encode({**fields, "results": [_ranked(result, documents) for result in results]})


def _ranked(result: Fields, documents: list[Fields] | None) -> Fields:
    if "relevance_score" not in result and "score" in result:
        result["relevance_score"] = result.pop("score")
    result.pop("document", None)
    if documents is not None:
        index = msgspec.json.decode(result["index"], type=int) if "index" in result else -1
        if not 0 <= index < len(documents):
            raise ValueError(f"a result has the index {index} of {len(documents)} documents")
        result["document"] = raw(documents[index])
    return result
