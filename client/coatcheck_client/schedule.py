"""When to ask again: pure functions of what has been seen so far and one random number in [0, 1)."""

from __future__ import annotations

FIRST_POLL = 0.05
"""Seconds before the first poll when the server gives no hint."""
LONGEST_POLL = 5.0
"""Seconds between polls of a long job when the server gives no hint."""
POLL_GROWTH = 1.6
"""Each wait is this much longer than the one before, so a result is seen late by a fraction of its own duration."""
SOON = 1.0
"""The smallest hint that Retry-After can give, in seconds."""
LONGEST_HINT = 300.0
"""A Retry-After beyond this many seconds is cut: a poll costs little, and a proxy's mistake must not stop a caller."""

FIRST_RETRY = 0.2
"""Seconds: ceiling of the wait before the first retry; doubles with each."""
LONGEST_RETRY = 10.0
"""Seconds: ceiling of a retry's wait that the client chooses itself."""
LONGEST_RETRY_HINT = 60.0
"""A refusal that asks for a longer wait than this many seconds is handed to the caller."""

RETRYABLE = frozenset({408, 429, 502, 503, 504})
"""Answers after which the same request may be sent again."""


def poll_delay(polls: int, retry_after: float | None, chance: float) -> float:
    """Seconds to wait before the next poll, after `polls` polls of this job.

    Retry-After counts whole seconds, so a hint of one means "soon": polls start early and come at most that far apart.
    A longer hint is a lower bound; jitter only ever adds to it, by at most a tenth.
    """
    own = min(LONGEST_POLL, FIRST_POLL * POLL_GROWTH ** min(polls, 64))
    if retry_after and retry_after > SOON:
        return max(min(retry_after, LONGEST_HINT), own) * (1 + chance / 10)
    return min(own, retry_after or own) * (0.5 + chance / 2)


def retry_delay(retries: int, retry_after: float | None, chance: float) -> float | None:
    """Seconds to wait before retry number `retries` (from 0), or None when the server asks for too long a wait."""
    own = min(LONGEST_RETRY, FIRST_RETRY * 2.0 ** min(retries, 64)) * chance
    if retry_after is None:
        return own
    if retry_after > LONGEST_RETRY_HINT:
        return None
    return retry_after + own
