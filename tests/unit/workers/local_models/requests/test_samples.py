"""A long recording is cut into windows that miss nothing, in its quiet moments."""

import numpy as np
import pytest

from workers.local_models.requests.transcription import SAMPLE_RATE, WINDOW_SECONDS, windows


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(7).integers(-9000, 9000, round(seconds * SAMPLE_RATE), np.int16)


@pytest.mark.parametrize("seconds", [0.5, WINDOW_SECONDS, WINDOW_SECONDS + 0.01, 3.4 * WINDOW_SECONDS])
def test_the_windows_of_a_recording_are_the_whole_of_it(seconds: float) -> None:
    samples = noise(seconds)
    pieces = list(windows(samples))
    assert np.array_equal(np.concatenate([piece for _, piece in pieces]) * 32768, samples)
    starts = [start for start, _ in pieces]
    ends = [start + len(piece) / SAMPLE_RATE for start, piece in pieces]
    assert starts == [0, *ends[:-1]]
    assert all(len(piece) <= WINDOW_SECONDS * SAMPLE_RATE for _, piece in pieces)
    assert all(len(piece) >= (WINDOW_SECONDS - 20) * SAMPLE_RATE for _, piece in pieces[:-1])


def test_the_cut_is_made_where_it_is_quiet() -> None:
    samples = noise(WINDOW_SECONDS + 30)
    quiet = (WINDOW_SECONDS - 7) * SAMPLE_RATE
    samples[quiet : quiet + SAMPLE_RATE] = 3
    _, (start, _) = windows(samples)
    assert WINDOW_SECONDS - 7 < start < WINDOW_SECONDS - 6


def test_a_quiet_moment_before_the_end_of_a_window_does_not_matter() -> None:
    samples = noise(WINDOW_SECONDS + 30)
    samples[: 60 * SAMPLE_RATE] = 0
    _, (start, _) = windows(samples)
    assert start > WINDOW_SECONDS - 20
