"""The rerank shapes in use: which documents were asked about, and every server's answer in one form."""

from __future__ import annotations

from typing import Any

import msgspec

Document = dict[str, msgspec.Raw]


class _Asked(msgspec.Struct):
    documents: msgspec.Raw = msgspec.Raw(b"[]")
    return_documents: bool | None = None


def documents_of(documents: msgspec.Raw | bytes) -> list[Document]:
    """The submitted documents as objects with `text`. Raises ValueError."""
    entries = msgspec.json.decode(documents, type=list[str | Document])
    objects = [{"text": _raw(entry)} if isinstance(entry, str) else entry for entry in entries]
    if not all("text" in entry for entry in objects):
        raise ValueError("every document needs 'text'")
    return objects


def uniform(answer: bytes, request: bytes) -> bytes:
    """The answer as `{results: [{index, relevance_score, document?}]}`, with documents if the request wants them back.

    Some servers send a bare list, name it `data`, or name the score `score`. Raises ValueError.
    """
    decoded: Any = msgspec.json.decode(answer, type=list[Document] | Document)
    fields: Document = {} if isinstance(decoded, list) else decoded
    listed = decoded if isinstance(decoded, list) else fields.pop("results", None) or fields.pop("data", None)
    if listed is None:
        raise ValueError("no 'results' in it")
    results = listed if isinstance(listed, list) else msgspec.json.decode(listed, type=list[Document])
    asked = msgspec.json.decode(request, type=_Asked)
    documents = documents_of(asked.documents) if asked.return_documents else None
    return msgspec.json.encode({**fields, "results": [_result(result, documents) for result in results]})


def _result(result: Document, documents: list[Document] | None) -> Document:
    if "relevance_score" not in result and "score" in result:
        result["relevance_score"] = result.pop("score")
    result.pop("document", None)
    if documents is not None:
        index = msgspec.json.decode(result["index"], type=int) if "index" in result else -1
        if not 0 <= index < len(documents):
            raise ValueError(f"a result has the index {index} of {len(documents)} documents")
        result["document"] = _raw(documents[index])
    return result


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
