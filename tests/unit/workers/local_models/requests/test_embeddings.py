"""Embedding and rerank answers have the shapes of the API, whatever the encoder."""

import base64
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from tests.unit.workers.local_models.calls import decoded, json_task
from workers.local_models.requests import embeddings
from workers.local_models.requests.embeddings import DIMENSIONS, MAX_TOKENS, Encoded
from workers.provider_interface import ProviderError


class LetterEncoder:
    """A text's vector counts its letters; words are tokens. Enough to tell texts apart."""

    def __init__(self) -> None:
        self.limits: list[int] = []

    def encode(self, texts: Sequence[str], stop: Callable[[], None], max_tokens: int = MAX_TOKENS) -> Encoded:
        self.limits.append(max_tokens)
        stop()
        vectors = np.zeros((len(texts), DIMENSIONS), np.float32)
        for row, text in enumerate(texts):
            for letter in text.lower():
                vectors[row, ord(letter) % DIMENSIONS] += 1
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        words = [len(text.split()) for text in texts]
        cut = [index for index, count in enumerate(words) if count > max_tokens]
        return Encoded(vectors, [min(count, max_tokens) for count in words], cut)


def embed(**body: Any) -> Any:
    return decoded(embeddings.embed(json_task("embedding", {"model": "local/minilm", **body}), LetterEncoder()))


def order(**body: Any) -> Any:
    return decoded(embeddings.rerank(json_task("rerank", {"model": "local/minilm-biencoder", **body}), LetterEncoder()))


def complaint(function: Callable[..., Any], **body: Any) -> str:
    with pytest.raises(ProviderError) as caught:
        function(**body)
    assert (caught.value.status_code, caught.value.retryable) == (400, False)
    return caught.value.message


def test_each_input_gets_a_unit_vector_in_its_place() -> None:
    result = embed(input=["red", "blue sky"])
    assert (result["object"], result["model"]) == ("list", "the-model")
    assert [(entry["object"], entry["index"]) for entry in result["data"]] == [("embedding", 0), ("embedding", 1)]
    assert all(math.isclose(math.hypot(*entry["embedding"]), 1, abs_tol=1e-6) for entry in result["data"])
    assert result["data"][0]["embedding"] != result["data"][1]["embedding"]
    assert result["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


def test_one_string_is_a_list_of_one() -> None:
    assert embed(input="red")["data"] == embed(input=["red"])["data"]


def test_base64_holds_the_same_numbers_as_little_endian_floats() -> None:
    [entry] = embed(input="red", encoding_format="base64")["data"]
    [plain] = embed(input="red", encoding_format="float")["data"]
    numbers = np.frombuffer(base64.b64decode(entry["embedding"]), "<f4")
    assert np.allclose(numbers, plain["embedding"], atol=1e-8)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"input": [1, 2, 3]}, ["send text and not token ids"]),
        ({"input": [[1, 2], [3]]}, ["send text and not token ids"]),
        ({"input": ["a", {"type": "text", "text": "b"}]}, ["input[1]", "text only"]),
        ({"input": ["a", ""]}, ["input[1] is empty"]),
        ({"input": []}, ["'input' is missing or empty"]),
        ({}, ["'input' is missing or empty"]),
        ({"input": ["a"] * 2049}, ["2049", "at most 2048"]),
        ({"input": "a", "encoding_format": "int8"}, ["encoding_format", "'int8'"]),
        ({"input": "a", "dimensions": 256}, ["dimensions", "384"]),
        ({"input": "a " * 300, "auto_truncate": False}, ["input[0] is too long", "256"]),
        ({"input": True}, ["does not fit"]),
    ],
)
def test_an_input_that_cannot_be_embedded_is_named(body: dict[str, Any], words: list[str]) -> None:
    message = complaint(embed, **body)
    assert all(word in message for word in words), message


def test_a_long_text_is_cut_and_only_what_was_read_is_counted() -> None:
    assert embed(input="a " * 300, dimensions=384)["usage"]["prompt_tokens"] == 256


def test_a_call_that_nobody_waits_for_is_not_embedded() -> None:
    task = json_task("embedding", {"input": "a"})
    task.abandon()
    with pytest.raises(ProviderError) as caught:
        embeddings.embed(task, LetterEncoder())
    assert (caught.value.status_code, caught.value.retryable) == (503, True)


DOCUMENTS = ["zzz", {"text": "abcd", "id": "d2", "meta": {"page": 4}}, "abc", {"text": "abd"}]


def test_the_most_relevant_document_comes_first_with_its_place_in_the_request() -> None:
    result = order(query="abc", documents=DOCUMENTS)
    assert result["model"] == "the-model"
    assert [entry["index"] for entry in result["results"]] == [2, 1, 3, 0]
    scores = [entry["relevance_score"] for entry in result["results"]]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(1)
    assert all("document" not in entry for entry in result["results"])
    assert result["usage"] == {"prompt_tokens": 5, "total_tokens": 5}


def test_documents_come_back_when_asked_for() -> None:
    result = order(query="abc", documents=DOCUMENTS, return_documents=True, top_n=2)
    assert [entry["document"] for entry in result["results"]] == [
        {"text": "abc"},
        {"text": "abcd", "id": "d2", "meta": {"page": 4}},
    ]


def test_equal_documents_keep_their_order() -> None:
    assert [entry["index"] for entry in order(query="a", documents=["a", "b", "a", "b"])["results"]] == [0, 2, 1, 3]


def test_top_n_may_be_more_than_there_are() -> None:
    assert len(order(query="a", documents=["a", "b"], top_n=9)["results"]) == 2


@pytest.mark.parametrize(("asked", "used"), [(None, 256), (10, 10), (1, 3), (10_000, 256), (-5, 3)])
def test_documents_are_read_as_far_as_asked(asked: int | None, used: int) -> None:
    encoder = LetterEncoder()
    embeddings.rerank(json_task("rerank", {"query": "a", "documents": ["b"], "max_tokens_per_doc": asked}), encoder)
    assert encoder.limits == [256, used]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"query": "a", "documents": []}, "documents"),
        ({"documents": ["a"]}, "query"),
        ({"query": "a", "documents": ["b"], "top_n": 0}, "top_n"),
        ({"query": "a", "documents": ["b"] * 2049}, "2048"),
        ({"query": "a", "documents": [{"id": "x"}]}, "text"),
    ],
)
def test_a_rerank_that_cannot_be_done_is_named(body: dict[str, Any], word: str) -> None:
    assert word in complaint(order, **body)
