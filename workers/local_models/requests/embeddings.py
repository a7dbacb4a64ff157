"""Answers embedding and rerank requests with a text encoder: vectors, or documents ordered by the cosine to a query."""

import base64
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from shared.domain.schemas import Document, Embedding, Rerank
from workers.error_classification import bad_request
from workers.local_models.requests.task import Task, json_answer
from workers.provider_interface import Answer

Stop = Callable[[], None]
"""Called between steps; raises when the call was cancelled."""
DIMENSIONS = 384
MAX_TOKENS = 256
"""Tokens of one text that are read, start and end marker included: the length that the model card gives."""
MAX_TEXTS = 2048
"""Texts in one call, as in the API that this one follows."""
_FEWEST_TOKENS = 3  # start marker, one token, end marker
_DECIMALS = 8  # a float32 of a unit vector carries no more


class Encoded(NamedTuple):
    """Unit vectors (texts, DIMENSIONS) as float32, tokens read per text, indexes of the texts that were too long."""

    vectors: np.ndarray
    tokens: list[int]
    cut: list[int]


class Encoder(Protocol):
    """One unit vector per text."""

    def encode(self, texts: Sequence[str], stop: Stop, max_tokens: int = MAX_TOKENS) -> Encoded: ...


def embed(task: Task, encoder: Encoder) -> Answer:
    request = task.json(Embedding)
    texts = _texts(request)
    if request.encoding_format not in (None, "float", "base64"):
        raise bad_request(f"field 'encoding_format': expected float or base64, got {request.encoding_format!r}")
    if request.dimensions not in (None, DIMENSIONS):
        raise bad_request(
            f"field 'dimensions': this model always gives {DIMENSIONS} numbers, it was not trained to be cut short"
        )
    encoded = encoder.encode(texts, task.stop_if_abandoned)
    if encoded.cut and request.auto_truncate is False:
        raise bad_request(f"input[{encoded.cut[0]}] is too long: this model reads {MAX_TOKENS} tokens of a text")
    vectors = _base64(encoded.vectors) if request.encoding_format == "base64" else _floats(encoded.vectors)
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    usage = _usage(sum(encoded.tokens))
    return json_answer({"object": "list", "model": task.call.model, "data": data, "usage": usage})


def rerank(task: Task, encoder: Encoder) -> Answer:
    """Orders `documents` by relevance, best first. A score is a cosine: 1 at best, about 0 for unrelated texts."""
    request = task.json(Rerank)
    query, documents = request.query, request.documents
    if not query or not documents:
        raise bad_request("fields 'query' and 'documents' are needed: a text, and a list with at least one document")
    if request.top_n is not None and request.top_n < 1:
        raise bad_request(f"field 'top_n' must be at least 1, got {request.top_n}")
    _check_count(len(documents), "documents")
    limit = min(max(request.max_tokens_per_doc or MAX_TOKENS, _FEWEST_TOKENS), MAX_TOKENS)
    texts = [document if isinstance(document, str) else document.text for document in documents]
    asked = encoder.encode([query], task.stop_if_abandoned)
    found = encoder.encode(texts, task.stop_if_abandoned, limit)
    scores = [round(float(cosine), 6) for cosine in found.vectors @ asked.vectors[0]]
    best = sorted(range(len(documents)), key=lambda index: (-scores[index], index))[: request.top_n]
    results = [_result(index, scores[index], documents[index] if request.return_documents else None) for index in best]
    usage = _usage(sum(asked.tokens) + sum(found.tokens))
    return json_answer({"model": task.call.model, "results": results, "usage": usage})


def _texts(request: Embedding) -> list[str]:
    entries = [request.input] if isinstance(request.input, str) else request.input
    if not entries:
        raise bad_request("field 'input' is missing or empty: expected a string or a list of strings")
    _check_count(len(entries), "input")
    texts: list[str] = []
    for index, entry in enumerate(entries):
        if isinstance(entry, int | list):
            raise bad_request("field 'input': this model has a vocabulary of its own, send text and not token ids")
        if not isinstance(entry, str):
            raise bad_request(f"input[{index}]: this model embeds text only")
        if not entry:
            raise bad_request(f"input[{index}] is empty: expected a text")
        texts.append(entry)
    return texts


def _check_count(texts: int, field: str) -> None:
    if texts > MAX_TEXTS:
        raise bad_request(f"field '{field}' has {texts} entries: this model takes at most {MAX_TEXTS} in one call")


def _floats(vectors: np.ndarray) -> list[list[float]]:
    rounded: list[list[float]] = np.round(vectors.astype(np.float64), _DECIMALS).tolist()
    return rounded


def _base64(vectors: np.ndarray) -> list[str]:
    return [base64.b64encode(vector.astype("<f4").tobytes()).decode() for vector in vectors]


def _usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": tokens, "total_tokens": tokens}


def _result(index: int, score: float, document: str | Document | None) -> dict[str, Any]:
    result: dict[str, Any] = {"index": index, "relevance_score": score}
    if isinstance(document, str):
        result["document"] = {"text": document}
    elif document is not None:
        optional = {"id": document.id, "meta": document.meta}
        result["document"] = {"text": document.text, **{k: v for k, v in optional.items() if v is not None}}
    return result
