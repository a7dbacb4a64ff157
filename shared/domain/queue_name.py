"""The queue of a job: jobs of one priority and key that may go the same way wait in one queue, oldest first.

Its name stands in the job, in the index that the sweep reads, and in notifications: a worker can decide what to claim
without having read a job.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from urllib.parse import quote, unquote

import msgspec

from shared.domain.errors import CoatcheckError
from shared.domain.target import Target

MAX_CHANNELS = 8
"""Of a route. Later fallbacks are tried all the same; only whether a job may run is decided without them."""
_VERSION = "1"
_KEPT = "/:@+ "
"""Characters of model names that need no escape: all printable ones but `|`, `,` and `%` could stay."""


class BadQueueName(CoatcheckError):
    """Not one that `QueueName.text` can have made."""


class Priority(StrEnum):
    """In the order of service."""

    HIGH = "h"
    NORMAL = "n"
    LOW = "l"


class QueueName(msgspec.Struct, frozen=True):
    """`key`: the id of the virtual key, empty for none. `route`: the channels still open to the job, best first."""

    priority: Priority
    key: str
    route: tuple[str, ...]

    @property
    def text(self) -> str:
        """version|priority|key|channel,channel,..."""
        route = ",".join([quote(channel, safe=_KEPT) for channel in self.route])
        return f"{_VERSION}|{self.priority}|{quote(self.key, safe=_KEPT)}|{route}"


def channel_of(target: Target) -> str:
    """What is paused and limited together: one model behind one provider's key."""
    return f"{target.provider}/{target.model}"


def queue_name(priority: Priority, key: str, targets: Sequence[Target]) -> QueueName:
    """Of a job with these targets left."""
    channels = dict.fromkeys(channel_of(target) for target in targets)
    return QueueName(priority, key, tuple(channels)[:MAX_CHANNELS])


@lru_cache(maxsize=8192)
def parse_queue_name(text: str) -> QueueName:
    """Raises BadQueueName."""
    parts = text.split("|")
    if len(parts) != 4 or parts[0] != _VERSION or not parts[3]:
        raise BadQueueName("not version|priority|key|channels, or of a version that is not known here")
    try:
        priority = Priority(parts[1])
    except ValueError:
        raise BadQueueName("a priority that is not known here") from None
    return QueueName(priority, unquote(parts[2]), tuple([unquote(each) for each in parts[3].split(",")]))
