"""Embed a few texts at once and find the one nearest to a question."""

import asyncio
import sys

from coatcheck_client import AsyncCoatcheck, Progress

TEXTS = ["The cat sat on the mat.", "Stocks fell sharply on Friday.", "Boil the pasta for nine minutes."]
QUESTION = "How long do noodles need?"


def show(progress: Progress) -> None:
    print(f"{progress.done}/{progress.total}", file=sys.stderr)


async def main() -> None:
    requests = [("embeddings", {"model": "local/minilm", "input": text}) for text in [QUESTION, *TEXTS]]
    async with AsyncCoatcheck() as client:  # COATCHECK_URL, COATCHECK_API_KEY
        vectors = [
            outcome.result["data"][0]["embedding"]  # raises if this one request failed
            async for outcome in client.map(requests, in_flight=16, progress=show)
        ]
    question, *answers = vectors
    scores = [sum(a * b for a, b in zip(question, answer, strict=True)) for answer in answers]
    score, text = max(zip(scores, TEXTS, strict=True))
    print(f"{QUESTION} -> {text} ({score:.2f})")


asyncio.run(main())
