"""A model for tests of model processes: cannot be loaded."""

from typing import NoReturn

_TEXT = "a text with a secret in it"


def load(threads: int) -> NoReturn:
    """Always fails, with a text that nobody may see."""
    raise MemoryError(_TEXT)
