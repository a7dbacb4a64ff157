"""Groups failures by cause: the same provider, status and words, once ids, numbers and quotes are taken out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

MAX_WORDS = 140
MAX_CAUSES = 12

_QUOTED = re.compile(r"(\"[^\"]*\"?|'[^']*'?|`[^`]*`?|[{\[].*)", re.DOTALL)
"""Providers quote the request in their complaints; also what begins like a JSON value is theirs, not ours."""
_NUMBERS = re.compile(r"\b(?=\w*\d)[\w.:/-]+")


class Cause(msgspec.Struct, frozen=True, kw_only=True):
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
        key = (failure["modality"], provider, failure["status_code"] or 0, words_of(failure["error"]))
        found.setdefault(key, []).append(failure)
    causes = [
        Cause(
            modality=modality,
            provider=provider,
            status_code=status_code,
            words=words,
            count=len(members),
            last_at=members[0]["completed_at"],
            last_job=members[0]["id"],
        )
        for (modality, provider, status_code, words), members in found.items()
    ]
    return sorted(causes, key=lambda cause: -cause.count)[:MAX_CAUSES]


def words_of(error: str | None) -> str:
    """An error's message without anything that may stem from a request, in one line."""
    if not error:
        return "no message was kept"
    text = _NUMBERS.sub("#", _QUOTED.sub("…", error))
    return " ".join(text.split())[:MAX_WORDS]
