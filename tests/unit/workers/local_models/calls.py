"""Calls as the tests of local models make them."""

from typing import Any

import msgspec

from shared.domain.content import Content
from shared.domain.form import Part, encode_form
from workers.local_models.requests.task import Task
from workers.provider_interface import Answer, Call


def call(
    request_type: str, model: str, content: Content, *, timeout: float = 60, params: dict[str, Any] | None = None
) -> Call:
    """A call with any body."""
    overrides = msgspec.json.encode(params) if params else b""
    return Call(request_type, model, content, {}, False, timeout, "job/1/1", overrides)


def json_call(
    request_type: str, model: str, body: Any, *, timeout: float = 60, params: dict[str, Any] | None = None
) -> Call:
    """A call with a JSON body."""
    return call(request_type, model, Content("json", msgspec.json.encode(body)), timeout=timeout, params=params)


def audio_call(
    audio: bytes,
    texts: list[tuple[str, str]] | None = None,
    *,
    timeout: float = 60,
    params: dict[str, Any] | None = None,
) -> Call:
    """A transcription call with these text fields."""
    parts = [Part("model", None, None, b"local/whisper-tiny-en"), Part("file", "speech.wav", "audio/wav", audio)]
    parts += [Part(name, None, None, value.encode()) for name, value in texts or []]
    content_type, body = encode_form(parts)
    content = Content("multipart", body, content_type)
    return call("transcription", "whisper-tiny-en", content, timeout=timeout, params=params)


def json_task(request_type: str, body: Any, **options: Any) -> Task:
    """A task with a JSON body, as a model gets it."""
    return Task(json_call(request_type, "the-model", body, **options))


def decoded(answer: Answer) -> Any:
    """The JSON of an answer."""
    assert answer.media_type == "application/json"
    return msgspec.json.decode(answer.body)
