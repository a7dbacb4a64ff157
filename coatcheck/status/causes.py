"""Groups failures by cause: the same provider, status and words, once ids, numbers and quotes are taken out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

MAX_WORDS = 140
MAX_CAUSES = 12

_MAX_NAME = 100
# A placeholder for a model's name, from the private use area of Unicode, so that no word rule matches it.
_STAND_IN = "\ue000"
# Providers quote the request in their complaints; also what begins like a JSON value is theirs, not ours.
_QUOTED = re.compile(r"(\"[^\"]*\"?|'[^']*'?|`[^`]*`?|[{\[].*)", re.DOTALL)
_NUMBERS = re.compile(r"\b(?=\w*\d)[\w.:/-]+")


class Cause(msgspec.Struct, frozen=True):
    """Failures that are alike. `last_job` is the newest of them."""

    modality: str
    provider: str
    status_code: int
    words: str
    count: int
    last_at: datetime
    last_job: str


def group(failures: Iterable[Mapping[str, Any]]) -> list[Cause]:
    """The causes of failures, which come newest first; the most frequent cause first, at most MAX_CAUSES."""
    found: dict[tuple[str, str, int, str], list[Mapping[str, Any]]] = {}
    for failure in failures:
        provider = failure["target"].partition("/")[0]
        words = words_of(failure["error"], failure["target"])
        key = (failure["modality"], provider, failure["status_code"] or 0, words)
        found.setdefault(key, []).append(failure)
    causes = [Cause(*key, len(each), each[0]["completed_at"], each[0]["id"]) for key, each in found.items()]
    return sorted(causes, key=lambda cause: -cause.count)[:MAX_CAUSES]


def words_of(error: str | None, target: str = "") -> str:
    """An error's message in one line, without anything that may stem from a request but the model of `target`."""
    if not error:
        return "no message was kept"
    names = [name for name in (target, target.partition("/")[2]) if 0 < len(name) <= _MAX_NAME]
    text = error.replace(_STAND_IN, "")
    for number, name in enumerate(names, 1):
        text = re.sub(rf"([\"'`]?)(?<![\w./:-]){re.escape(name)}(?![\w/:-]|\.\w)\1", _STAND_IN * number, text)
    text = _NUMBERS.sub("#", _QUOTED.sub("…", text))
    for number, name in reversed(list(enumerate(names, 1))):
        text = text.replace(_STAND_IN * number, name)
    return " ".join(text.split())[:MAX_WORDS]
