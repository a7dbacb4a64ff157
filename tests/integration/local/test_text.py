"""Embeddings and rerank of the real model: near what is related, far from what is not."""

import asyncio
import math
from typing import Any

import pytest

from tests.integration.local.sent import failure_of
from tests.unit.workers.local_models.calls import decoded, json_call
from workers.local_models.provider import LocalProvider


async def embed(provider: LocalProvider, texts: list[str], **options: Any) -> list[list[float]]:
    body = {"model": "local/minilm", "input": texts, **options}
    result = decoded(await provider.call(json_call("embedding", "minilm", body, timeout=120)))
    return [entry["embedding"] for entry in result["data"]]


def cosine(left: list[float], right: list[float]) -> float:
    return (
        math.sumprod(left, right) if hasattr(math, "sumprod") else sum(a * b for a, b in zip(left, right, strict=True))
    )


@pytest.mark.parametrize(
    ("text", "related", "unrelated"),
    [
        ("The cat sat on the mat.", "A kitten rested on a rug.", "Interest rates rose by half a point."),
        ("How do I reset my password?", "I forgot my login credentials.", "The museum opens at nine on Sundays."),
        ("It is raining heavily.", "The weather is very wet today.", "He plays the violin in an orchestra."),
        (
            "The company hired new engineers.",
            "The firm recruited software developers.",
            "Bananas are rich in potassium.",
        ),
        ("She drove her car to work.", "She commuted by automobile.", "The recipe needs two cups of flour."),
    ],
)
async def test_related_texts_are_nearer_than_unrelated_ones(
    provider: LocalProvider, text: str, related: str, unrelated: str
) -> None:
    anchor, near, far = await embed(provider, [text, related, unrelated])
    assert cosine(anchor, near) > 0.3
    assert cosine(anchor, far) < 0.15
    assert math.isclose(math.hypot(*anchor), 1, abs_tol=1e-5)
    assert len(anchor) == 384


async def test_a_text_has_the_same_vector_alone_and_among_others(provider: LocalProvider) -> None:
    texts = ["short", "a text of middling length, no more", "word " * 120, "word " * 500, "x"] * 3
    together = await embed(provider, texts)
    for text, vector in zip(texts[:5], together, strict=False):
        [alone] = await embed(provider, [text])
        assert cosine(alone, vector) > 0.9999


async def test_tokens_are_counted_as_the_model_reads_them(provider: LocalProvider) -> None:
    async def tokens(text: str) -> int:
        result = decoded(await provider.call(json_call("embedding", "minilm", {"input": text})))
        return int(result["usage"]["prompt_tokens"])

    assert await tokens("hello world") == 4  # with the start and the end marker
    assert await tokens("word " * 300) == 256
    assert await tokens("word " * 1_000_000) == 256


async def test_a_text_beyond_the_models_length_is_refused_when_it_must_not_be_cut(provider: LocalProvider) -> None:
    body = {"input": ["short", "word " * 300], "auto_truncate": False}
    error = await failure_of(provider, json_call("embedding", "minilm", body))
    assert (error.status_code, error.retryable) == (400, False)
    assert "input[1]" in error.message


async def test_the_document_that_answers_the_query_comes_first(provider: LocalProvider) -> None:
    body = {
        "query": "What is the capital of France?",
        "documents": ["Bananas are yellow.", "French wine is famous.", {"text": "Paris is the capital of France."}],
        "return_documents": True,
    }
    result = decoded(await provider.call(json_call("rerank", "minilm-biencoder", body)))
    assert [entry["index"] for entry in result["results"]] == [2, 1, 0]
    assert result["results"][0]["relevance_score"] > 0.7
    assert result["results"][2]["relevance_score"] < 0.1
    assert result["results"][0]["document"] == {"text": "Paris is the capital of France."}


async def test_many_first_calls_load_the_model_once(caplog: pytest.LogCaptureFixture) -> None:
    provider = LocalProvider()
    with caplog.at_level("INFO"):
        calls = [json_call("embedding", "minilm", {"input": f"text {number}"}) for number in range(8)]
        calls.append(json_call("rerank", "minilm-biencoder", {"query": "a", "documents": ["b"]}))
        answers = await asyncio.gather(*map(provider.call, calls))
    await provider.close()
    assert len(answers) == 9
    assert caplog.text.count("loaded in") == 1
    assert (await failure_of(provider, calls[0])).error_type == "bifrost_dropped"
