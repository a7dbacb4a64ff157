"""What embeddings and rerank need of a text encoder, and the bounds on what they give it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from workers.providers.local.task import invalid

DIMENSIONS = 384

MAX_TOKENS = 256
"""Tokens of one text that are read, start and end marker included: the length that the model card gives."""
MAX_TEXTS = 2048
"""Texts in one call, as in the API that this one follows."""


class Encoded(NamedTuple):
    """Unit vectors (texts, DIMENSIONS) as float32, tokens read per text, indexes of the texts that were too long."""

    vectors: np.ndarray
    tokens: list[int]
    cut: list[int]


class Encoder(Protocol):
    """Turns texts into vectors."""

    def encode(self, texts: Sequence[str], stop: Callable[[], None], max_tokens: int = MAX_TOKENS) -> Encoded:
        """One unit vector per text. `stop` is asked now and then and may raise."""
        ...


def check_count(texts: int, field: str) -> None:
    """Raises ProviderError when a call holds too many texts."""
    if texts > MAX_TEXTS:
        raise invalid(f"field '{field}' has {texts} entries: this model takes at most {MAX_TEXTS} in one call")
