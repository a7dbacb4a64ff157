"""Samples of speech, and long recordings cut into windows."""

from collections.abc import Iterator

import numpy as np

SAMPLE_RATE = 16_000
"""What speech models read, in samples per second."""
WINDOW_SECONDS = 120
_SEARCH_SECONDS = 20  # at the end of a window, for the quietest moment
_FRAME = SAMPLE_RATE // 5


def windows(samples: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
    """Cuts a long recording where it is quiet: pairs of a start in seconds and samples as float32 from -1 to 1.

    What a model needs in memory grows with the length of what it is given.
    """
    start, longest, search = 0, WINDOW_SECONDS * SAMPLE_RATE, _SEARCH_SECONDS * SAMPLE_RATE
    while len(samples) - start > longest:
        tail = samples[start + longest - search : start + longest].astype(np.float32)
        loudness = (tail.reshape(-1, _FRAME) ** 2).sum(axis=1)
        end = start + longest - search + int(loudness.argmin()) * _FRAME + _FRAME // 2
        yield start / SAMPLE_RATE, samples[start:end].astype(np.float32) / 32768
        start = end
    yield start / SAMPLE_RATE, samples[start:].astype(np.float32) / 32768
