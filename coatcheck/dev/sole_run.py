"""Only one stack runs on a data directory at a time."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TextIO

from coatcheck.dev.tether import is_alive

LEFTOVER_SECONDS = 45.0
"""How long the children of a killed run may take to stop: longer than each of them is given in an orderly stop."""

_POLL_SECONDS = 0.1


class AlreadyRunning(Exception):
    """Another stack holds the directory; the message says which process and how to go on."""


@contextlib.asynccontextmanager
async def sole_run(data: Path, url: str) -> AsyncIterator[int]:
    """Hold `data` while the block runs; yields a file descriptor that children must keep open.

    The lock is theirs too: after a kill -9 of this process it ends with the last child. Raises AlreadyRunning.
    """
    with _lock_file(data) as file:
        await _acquire(file.fileno(), data)
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "url": url}))
        file.flush()
        yield file.fileno()


def _lock_file(data: Path) -> TextIO:
    data.mkdir(parents=True, exist_ok=True)
    return (data / "lock").open("a+")


async def _acquire(descriptor: int, data: Path) -> None:
    give_up = time.monotonic() + LEFTOVER_SECONDS
    said = False
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _refuse_beside_a_living_run(data)
        if time.monotonic() > give_up:
            raise AlreadyRunning(f"processes of an earlier run still use {data}: `fuser {data / 'lock'}` names them")
        if not said:
            sys.stderr.write("waiting for the processes of a killed run to stop\n")
            said = True
        await asyncio.sleep(_POLL_SECONDS)


def _refuse_beside_a_living_run(data: Path) -> None:
    try:
        holder = json.loads((data / "lock").read_text())
    except ValueError:  # it has just taken the lock and not said yet who it is
        return
    if is_alive(holder["pid"]):
        raise AlreadyRunning(
            f"Coatcheck already runs on {data}: {holder['url']}, process {holder['pid']}. Stop it with Ctrl-C there, "
            f"or start a second one with `make run DATA=.coatcheck2 PORT=8081 ADMIN_PORT=9091`"
        )
