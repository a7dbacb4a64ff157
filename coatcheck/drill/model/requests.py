"""What the clients of a drill ask for: every request carries a marker, and its answer must carry the same one. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal

import msgspec

from shared.domain.catalogue import BY_TYPE
from shared.domain.form import Part, encode_form
from workers.providers.scripted.answers import vector_head

Kind = Literal["embedding", "chat", "large", "form", "image", "ocr"]
"""`large` is a chat of a scripted model whose request and answer are stored in chunks; `form` is a transcription."""

EMBEDDINGS: tuple[Kind, ...] = ("embedding",)
ALL_KINDS: tuple[Kind, ...] = (
    *("embedding", "chat", "embedding", "form", "embedding"),
    *("image", "embedding", "large", "embedding", "ocr"),
)
"""In turn: half of them embeddings, which travel together, and one of ten large."""

_LARGE_REQUEST_BYTES, _LARGE_ANSWER_BYTES = 12_000, 40_000
_SOUND = bytes(range(256)) * 2
_MARKER = re.compile(rb"drill-[0-9]+-[0-9]+-[0-9]+")
NOTHING = "no marker"


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `carries` is what its answer must carry; empty where the answers of its model cannot tell."""

    path: str
    body: bytes
    content_type: str
    carries: str


class _Entry(msgspec.Struct):
    embedding: list[float] = msgspec.field(default_factory=list)


class _Vectors(msgspec.Struct):
    data: list[_Entry] = msgspec.field(default_factory=list)


def marker_of(run: str, number: int) -> str:
    """The marker of a run's request. `run` is two numbers with a dash."""
    return f"drill-{run}-{number}"


def make_request(kind: Kind, model: str, marker: str, *, told_apart: bool = True) -> Request:
    """A request with this marker in it. `told_apart`: the model's answers carry what they were asked."""
    text = f"request {marker}"
    request_type, more = _asked(kind, text, marker)
    fields = {"model": f"{model},size={_LARGE_ANSWER_BYTES}" if kind == "large" else model, **more}
    content_type, body = "application/json", json.dumps(fields).encode()
    if kind == "form":
        texts = [Part(name, None, None, str(value).encode()) for name, value in fields.items()]
        content_type, body = encode_form([*texts, Part("file", "sound.wav", "audio/wav", _SOUND)])
    carries = repr(vector_head(text)) if kind == "embedding" else marker
    return Request(BY_TYPE[request_type].path, body, content_type, carries if told_apart else "")


def _asked(kind: Kind, text: str, marker: str) -> tuple[str, dict[str, object]]:
    match kind:
        case "embedding":
            return "embedding", {"input": text}
        case "chat":
            return "chat_completion", {"messages": [{"role": "user", "content": text}]}
        case "large":
            return "chat_completion", {"messages": [{"role": "user", "content": text + "." * _LARGE_REQUEST_BYTES}]}
        case "form":
            return "transcription", {"prompt": text}
        case "image":
            return "image_generation", {"prompt": text}
        case "ocr":
            image = {"type": "image_url", "image_url": f"https://files.example/{marker}.png"}
            return "ocr", {"document": image}


def carried_by(answer: bytes) -> str:
    """What an answer carries: markers, or the numbers by which vectors tell what was embedded; empty if nothing."""
    found = markers_in(answer)
    if not found:
        try:
            data = msgspec.json.decode(answer, type=_Vectors).data
        except (msgspec.DecodeError, RecursionError):
            return ""
        found = [repr(entry.embedding[0]) for entry in data if entry.embedding]
    return " ".join(found)


def markers_in(body: bytes) -> list[str]:
    return list(dict.fromkeys(found.decode() for found in _MARKER.findall(body)))


def wrong_result(carries: str, result: bytes) -> str:
    """What the result of a completed job carries instead of its own marker; empty when all is well."""
    carried = carried_by(result) if carries else ""
    return "" if carried == carries else carried or NOTHING


def wrong_error(marker: str, error: bytes) -> str:
    """Whose marker the error of a failed job carries, if it carries any and not its own."""
    found = markers_in(error)
    return "" if not found or marker in found else found[0]
