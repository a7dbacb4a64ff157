"""The answers of rerank servers, which differ in shape, as one shape."""

from __future__ import annotations

from typing import Any

import msgspec

from workers.providers.openai.request_bodies import Fields, documents_of, raw


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
    results = listed if isinstance(listed, list) else msgspec.json.decode(listed, type=list[Fields])
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
