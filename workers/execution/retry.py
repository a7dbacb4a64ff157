"""The retry policy: what follows a failed call. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from workers.provider_interface import ProviderError

_FIRST_PAUSE = 2.0
_LONGEST_BLIND_PAUSE = 15.0
_LONGEST_SPREAD = 5.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`max_failures` per target; backoff ceilings double from `base` to `cap`, in seconds."""

    max_failures: int
    base: float
    cap: float


def retry_in(error: ProviderError, failures: int, policy: RetryPolicy, drawn: float) -> float | None:
    """Seconds until the same target may be called again; None: the next one's turn. `drawn` is in [0, 1)."""
    if not error.retryable or failures >= policy.max_failures:
        return None
    return max(error.retry_after or 0.0, backoff(failures, policy, drawn))


def backoff(failures: int, policy: RetryPolicy, drawn: float) -> float:
    """Full jitter: anywhere between nothing and a ceiling that doubles with each failure."""
    ceiling = min(policy.cap, policy.base * 2.0 ** min(failures - 1, 32))
    return drawn * ceiling


def asks_to_pause(error: ProviderError) -> bool:
    """Whether it wants fewer calls, from anybody: 429 that waiting cures, or 503 with a time."""
    return error.retryable and (
        error.status_code == 429 or (error.status_code == 503 and error.retry_after is not None)
    )


def defer_seconds(shortest_pause: float, drawn: float) -> float:
    """When a job comes back whose targets are all paused: a little after the first pause ends, not all jobs at once."""
    return shortest_pause + drawn * min(shortest_pause, _LONGEST_SPREAD)


def pause_seconds(error: ProviderError, streak: int, drawn: float, longest: float) -> float:
    """How long to leave a channel alone: what was asked for, or a doubling guess with jitter; never above `longest`."""
    if error.retry_after is not None and error.retry_after > 0:
        return min(error.retry_after, longest)
    guess = min(_LONGEST_BLIND_PAUSE, _FIRST_PAUSE * 2.0 ** min(streak, 16))
    return min(guess * (0.5 + drawn / 2), longest)
