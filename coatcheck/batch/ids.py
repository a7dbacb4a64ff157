"""A set of custom_ids at 8 bytes each once it is made, so that millions of lines fit into memory."""

from __future__ import annotations

import hashlib
import heapq
from array import array
from bisect import bisect_left
from collections.abc import Iterator

_RUN = 65536
"""Ids sorted at a time: as Python numbers they take five times their room."""


def fold(custom_id: str) -> int:
    """64 bits that stand for a custom_id. Among a million ids the chance that any two are alike is 3 in 10^8."""
    return int.from_bytes(hashlib.blake2b(custom_id.encode("utf-8", "surrogatepass"), digest_size=8).digest())


class IdSet:
    """Made once, of folded ids, then asked."""

    def __init__(self, folded: array[int]) -> None:
        runs = (folded[start : start + _RUN] for start in range(0, len(folded), _RUN))
        self._folded = array("Q", heapq.merge(*(array("Q", sorted(run)) for run in runs)))

    def __len__(self) -> int:
        return len(self._folded)

    def __contains__(self, custom_id: str) -> bool:
        folded = fold(custom_id)
        place = bisect_left(self._folded, folded)
        return place < len(self._folded) and self._folded[place] == folded

    def repeated(self) -> Iterator[int]:
        """The folded ids that are there more than once."""
        for place in range(1, len(self._folded)):
            if self._folded[place] == self._folded[place - 1]:
                yield self._folded[place]
