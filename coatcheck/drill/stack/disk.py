"""A small disk of its own for a member, in memory, so that it can be full while others have room. Linux, root."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

_BLOCK = bytes(1024 * 1024)


def what_is_missing() -> str:
    if not sys.platform.startswith("linux"):
        return "mounting a small disk works on Linux only"
    return "" if os.geteuid() == 0 else "mounting a small disk needs root"


class SmallDisk:
    def __init__(self, place: Path, megabytes: int) -> None:
        self.place = place
        self._megabytes = megabytes
        self._filler = place / "filler"

    def mount(self) -> None:
        """Raises CalledProcessError."""
        self.place.mkdir(parents=True, exist_ok=True)
        options = f"size={self._megabytes}m"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "drill", str(self.place)], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.place)], check=False)

    def fill(self) -> None:
        """Leave no room. Blocks for a second."""
        with contextlib.suppress(OSError), self._filler.open("wb", buffering=0) as file:
            while file.write(_BLOCK):
                pass

    def free(self) -> None:
        self._filler.unlink(missing_ok=True)
