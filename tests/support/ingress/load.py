"""Callers that submit as fast as they get answers, as a process of their own.

`python -m tests.support.ingress.load PORT CALLERS SECONDS PATIENCE` prints one JSON object: answers by status, accepted
per second, and the seconds that answers took. Who is refused comes back after PATIENCE seconds or up to half as many
more, whatever he is told.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter

from tests.support.ingress.abuse import WELL, post

REQUEST = post(WELL)


class Tally:
    """What all callers were told."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.took: dict[str, list[float]] = {}
        self.untold = 0
        """Refusals that did not say when to come back."""

    def add(self, status: str, seconds: float, head: bytes) -> None:
        self.statuses[status] += 1
        self.took.setdefault(status, []).append(seconds)
        self.untold += status == "503" and b"\r\nretry-after: " not in head.lower()

    def report(self, seconds: float) -> dict[str, object]:
        return {
            "statuses": dict(self.statuses),
            "accepted_per_s": round(self.statuses["202"] / seconds, 1),
            "p99": {status: round(sorted(took)[-1 - len(took) // 100], 4) for status, took in self.took.items()},
            "untold": self.untold,
        }


async def caller(port: int, tally: Tally, until: float, patience: float) -> None:
    while time.monotonic() < until:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
        except OSError:
            tally.statuses["no connection"] += 1
            await asyncio.sleep(0.1)
            continue
        try:
            await _talk(reader, writer, tally, until, patience)
        except (OSError, asyncio.IncompleteReadError):
            tally.statuses["broken"] += 1
        finally:
            writer.transport.abort()


async def _talk(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tally: Tally, until: float, patience: float
) -> None:
    while (began := time.monotonic()) < until:
        writer.write(REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
        status = head[9:12].decode()
        tally.add(status, time.monotonic() - began, head)
        if status != "202":
            await asyncio.sleep(patience * random.uniform(1.0, 1.5))
        if b"connection: close" in head:
            return


async def main(port: str, callers: str, seconds: str, patience: str) -> None:
    tally = Tally()
    until = time.monotonic() + float(seconds)
    await asyncio.gather(*(caller(int(port), tally, until, float(patience)) for _ in range(int(callers))))
    print(json.dumps(tally.report(float(seconds))))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
