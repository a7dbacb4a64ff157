"""Answers rerank requests with a bi-encoder: documents ordered by the cosine of their vector and the query's."""

from typing import Any

from shared.schemas import Document, Rerank
from workers.providers.base import Answer
from workers.providers.local.encoder import MAX_TOKENS, Encoder, check_count
from workers.providers.local.task import Task, invalid, json_answer

_FEWEST_TOKENS = 3  # start marker, one token, end marker


def answer(task: Task, encoder: Encoder) -> Answer:
    """Orders `documents` by relevance, best first. A score is a cosine: 1 at best, about 0 for unrelated texts."""
    request = task.json(Rerank)
    query, documents = request.query, request.documents
    if not query or not documents:
        raise invalid("fields 'query' and 'documents' are needed: a text, and a list with at least one document")
    if request.top_n is not None and request.top_n < 1:
        raise invalid(f"field 'top_n' must be at least 1, got {request.top_n}")
    check_count(len(documents), "documents")
    scores, tokens = _scores(task, encoder, query, documents, request.max_tokens_per_doc)
    best = sorted(range(len(documents)), key=lambda index: (-scores[index], index))[: request.top_n]
    results = [_result(index, scores[index], documents[index] if request.return_documents else None) for index in best]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return json_answer({"model": task.call.model, "results": results, "usage": usage})


def _scores(
    task: Task, encoder: Encoder, query: str, documents: list[str | Document], max_tokens: int | None
) -> tuple[list[float], int]:
    limit = min(max(max_tokens or MAX_TOKENS, _FEWEST_TOKENS), MAX_TOKENS)
    texts = [document if isinstance(document, str) else document.text for document in documents]
    asked = encoder.encode([query], task.stop_if_abandoned)
    found = encoder.encode(texts, task.stop_if_abandoned, limit)
    cosines = found.vectors @ asked.vectors[0]
    return [round(float(cosine), 6) for cosine in cosines], sum(asked.tokens) + sum(found.tokens)


def _result(index: int, score: float, document: str | Document | None) -> dict[str, Any]:
    result: dict[str, Any] = {"index": index, "relevance_score": score}
    if isinstance(document, str):
        result["document"] = {"text": document}
    elif document is not None:
        optional = {"id": document.id, "meta": document.meta}
        result["document"] = {"text": document.text, **{k: v for k, v in optional.items() if v is not None}}
    return result
