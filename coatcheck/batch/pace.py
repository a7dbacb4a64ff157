"""When to ask for a job the first time: about when jobs like it have been ending. With a thousand in flight each of
them would otherwise be asked for many times in vain, at the cost of the server that works on them."""

from __future__ import annotations

from datetime import timedelta

from coatcheck_client import Job

EAGERNESS = 0.9
"""Of the usual duration: a job that was quicker than usual must not hold its place for long."""
LONGEST = 30.0
"""Seconds: a first look comes no later than this, whatever was usual."""
MEMORY = 0.05
"""Weight of one more job in the usual duration."""


class Pace:
    """Learns from jobs that ended; `usual` is their running mean duration on the server, in seconds."""

    def __init__(self) -> None:
        self.usual = 0.0

    def learn(self, job: Job) -> None:
        """Take a job that ended into account."""
        if job.created_at is None or job.completed_at is None:
            return
        took = max(timedelta(0), job.completed_at - job.created_at).total_seconds()
        self.usual += (took - self.usual) * MEMORY

    def first_look(self) -> float:
        """Seconds to leave a new job alone."""
        return min(LONGEST, self.usual * EAGERNESS)
