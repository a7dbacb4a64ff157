"""What the person at the shell reads."""

from pathlib import Path

import pytest

from coatcheck.batch.progress import progress_line

ERRORS = Path("somewhere/errors.jsonl")


@pytest.mark.parametrize(
    ("done", "failed", "seconds", "line"),
    [
        (0, 0, 0.0, "0/50,000  00:00"),
        (1234, 0, 59.9, "1,234/50,000  00:59"),
        (50_000, 3, 41.2, "50,000/50,000  failed 3 (errors.jsonl)  00:41"),
        (50_000, 0, 7325.0, "50,000/50,000  122:05"),
    ],
)
def test_the_line_says_how_many_are_done_and_failed_and_since_when(
    done: int, failed: int, seconds: float, line: str
) -> None:
    assert progress_line(done, 50_000, failed, ERRORS, seconds) == line
