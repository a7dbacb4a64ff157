"""Embedding requests that travel together: which may, as what one call, and whose vectors come back. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from shared.domain.catalogue import BY_TYPE
from shared.domain.content import Content
from workers import error_classification
from workers.provider_interface import Answer, Call, ProviderError
from workers.providers.openai.request_bodies import Fields, read_fields

_FIRST_ATTEMPT = "/1/0"
"""How the call id of a job's first call ends: later ones travel alone, so that what failed a batch fails by itself."""
_PER_JOB = ("input", "model", "fallbacks", "stream", "stream_options")
"""Fields that need not agree: the provider gets them replaced, or never."""

_FOR_EACH = frozenset({"provider_auth_failed", "provider_billing", "provider_rate_limited", "caller_model_unknown"})
"""Types of errors that have nothing to do with the texts."""
_KNOWN = BY_TYPE["embedding"].known_fields

Key = tuple[object, ...]


class Limits(msgspec.Struct, frozen=True):
    """Bounds of one call. `serial`: the provider makes one at a time, so one that comes meanwhile waits anyway."""

    texts: int
    text_bytes: int = 128 * 1024
    wait: float = 0.005
    serial: bool = False


class Part(msgspec.Struct, frozen=True):
    """One job's share of a call: its texts, as JSON strings. Parts with an equal key may travel together."""

    key: Key
    fields: Fields
    texts: tuple[msgspec.Raw, ...]
    size: int


def part_of(call: Call, limits: Limits) -> Part | None:
    """What this call would bring into a batch; None when it has to travel alone."""
    if call.request_type != "embedding" or not call.call_id.endswith(_FIRST_ATTEMPT):
        return None
    try:
        fields = read_fields(call.content.data)
        texts = _texts(fields.get("input", msgspec.Raw(b"null")))
        sent = {*(fields if call.extra_params else ()), *(read_fields(call.params) if call.params else ())}
    except ValueError:
        return None  # whoever makes the call finds the words for it
    if not sent <= _KNOWN:
        return None  # nobody knows what they do: `late_chunking`, as one provider has it, mixes the texts of a call
    size = sum(len(bytes(text)) for text in texts)
    if not 0 < len(texts) < limits.texts or size > limits.text_bytes:
        return None
    shared = tuple(sorted((name, bytes(value)) for name, value in fields.items() if name not in _PER_JOB))
    forward = tuple(sorted(call.forward.items()))
    return Part((call.model, forward, call.extra_params, call.params, call.timeout, shared), fields, texts, size)


def _texts(given: msgspec.Raw) -> tuple[msgspec.Raw, ...]:
    """The texts of an `input`; nothing for token ids, empty texts and whatever else is not plainly text."""
    if _is_text(given):
        return (given,)
    if bytes(given)[:1] != b"[":
        return ()
    texts = tuple(msgspec.json.decode(given, type=list[msgspec.Raw]))
    return texts if all(_is_text(text) for text in texts) else ()


def _is_text(value: msgspec.Raw) -> bool:
    letters = bytes(value)
    return len(letters) > 2 and letters.startswith(b'"')


def batch_wait(limits: Limits, in_flight: int, since_last: float) -> float | None:
    """Seconds that the first of a batch waits for others; None: for the end of a call. Who comes alone never waits."""
    if in_flight and limits.serial:
        return None
    return limits.wait if in_flight and since_last < limits.wait else 0.0


def concerns_each(error: ProviderError) -> bool:
    """Whether it would meet each member alone as well. What may pass is left to their next attempts, one by one."""
    return error.retryable or error.error_type in _FOR_EACH


def merge(calls: Sequence[Call], parts: Sequence[Part]) -> Call:
    texts = [text for part in parts for text in part.texts]
    body = msgspec.json.encode({**parts[0].fields, "input": texts})
    first = calls[0]
    return msgspec.structs.replace(first, content=Content("json", body), call_id=f"{first.call_id}+{len(calls)}")


def split(answer: Answer, parts: Sequence[Part]) -> list[Answer]:
    """Each part's own answer. Raises ProviderError unless there is exactly one vector for each text."""
    try:
        fields = read_fields(answer.body) if answer.fields is None else dict(answer.fields)
        vectors = _in_order(msgspec.json.decode(fields["data"], type=list[Fields]))
    except (ValueError, KeyError) as error:
        raise error_classification.bad_answer(f"not the JSON of a batch of embeddings: {error}") from None
    texts = sum(len(part.texts) for part in parts)
    if len(vectors) != texts:
        raise error_classification.bad_answer(f"{len(vectors)} vectors for {texts} texts")
    usages = _usages(fields.pop("usage", None), [part.size for part in parts])
    answers, start = [], 0
    for part, usage in zip(parts, usages, strict=True):
        own = vectors[start : start + len(part.texts)]
        start += len(part.texts)
        data = [{**vector, "index": index} for index, vector in enumerate(own)]
        body = msgspec.json.encode({**fields, "data": data, **usage})
        answers.append(msgspec.structs.replace(answer, body=body, fields=None))
    return answers


def _in_order(vectors: list[Fields]) -> list[Fields]:
    if not any("index" in vector for vector in vectors):
        return vectors
    places = {msgspec.json.decode(vector["index"], type=int): vector for vector in vectors}
    if places.keys() != set(range(len(vectors))):
        raise ValueError("the indexes are not 0, 1, 2, ...")
    return [places[index] for index in range(len(vectors))]


def _usages(usage: msgspec.Raw | None, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """The provider's usage, dealt out by size and marked: nobody knows the share of a single text."""
    counted = msgspec.json.decode(usage) if usage is not None else None
    if not isinstance(counted, dict):
        return [{} for _ in sizes]
    return [{"usage": {**share, "apportioned": True}} for share in _deal(counted, sizes)]


def _deal(value: Any, sizes: Sequence[int]) -> list[Any]:
    if isinstance(value, dict):
        dealt = {name: _deal(entry, sizes) for name, entry in value.items()}
        return [{name: shares[index] for name, shares in dealt.items()} for index in range(len(sizes))]
    if isinstance(value, float):
        return [value * (size / sum(sizes)) for size in sizes]
    whole = isinstance(value, int) and not isinstance(value, bool)
    return apportion(value, sizes) if whole else [value for _ in sizes]


def apportion(total: int, sizes: Sequence[int]) -> list[int]:
    """Deal `total` out in proportion to `sizes`, so that the shares add up to it and none is off by one or more."""
    whole = sum(sizes)
    shares = [total * size // whole for size in sizes]
    rests = sorted(range(len(sizes)), key=lambda index: total * sizes[index] % whole, reverse=True)
    for index in rests[: total - sum(shares)]:
        shares[index] += 1
    return shares
