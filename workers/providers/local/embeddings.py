"""Answers embedding requests: texts in, an OpenAI-shaped list of vectors out."""

import base64

import numpy as np

from shared.schemas import Embedding
from workers.providers.base import Answer
from workers.providers.local.encoder import DIMENSIONS, MAX_TOKENS, Encoder, check_count
from workers.providers.local.task import Task, invalid, json_answer

_DECIMALS = 8  # a float32 of a unit vector carries no more


def answer(task: Task, encoder: Encoder) -> Answer:
    """Embeds `input`. Raises ProviderError for what this model cannot do."""
    request = task.json(Embedding)
    texts = _texts(request)
    if request.encoding_format not in (None, "float", "base64"):
        raise invalid(f"field 'encoding_format': expected float or base64, got {request.encoding_format!r}")
    if request.dimensions not in (None, DIMENSIONS):
        raise invalid(
            f"field 'dimensions': this model always gives {DIMENSIONS} numbers, it was not trained to be cut short"
        )
    encoded = encoder.encode(texts, task.stop_if_abandoned)
    if encoded.cut and request.auto_truncate is False:
        raise invalid(f"input[{encoded.cut[0]}] is too long: this model reads {MAX_TOKENS} tokens of a text")
    vectors = _base64(encoded.vectors) if request.encoding_format == "base64" else _floats(encoded.vectors)
    tokens = sum(encoded.tokens)
    return json_answer(
        {
            "object": "list",
            "model": task.call.model,
            "data": [
                {"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)
            ],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )


def _texts(request: Embedding) -> list[str]:
    entries = [request.input] if isinstance(request.input, str) else request.input
    if not entries:
        raise invalid("field 'input' is missing or empty: expected a string or a list of strings")
    check_count(len(entries), "input")
    texts: list[str] = []
    for index, entry in enumerate(entries):
        if isinstance(entry, int | list):
            raise invalid("field 'input': this model has a vocabulary of its own, send text and not token ids")
        if not isinstance(entry, str):
            raise invalid(f"input[{index}]: this model embeds text only")
        if not entry:
            raise invalid(f"input[{index}] is empty: expected a text")
        texts.append(entry)
    return texts


def _floats(vectors: np.ndarray) -> list[list[float]]:
    rounded: list[list[float]] = np.round(vectors.astype(np.float64), _DECIMALS).tolist()
    return rounded


def _base64(vectors: np.ndarray) -> list[str]:
    return [base64.b64encode(vector.astype("<f4").tobytes()).decode() for vector in vectors]
