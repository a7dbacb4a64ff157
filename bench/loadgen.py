"""Builds and runs the load generator, a small Go program, so that the load is not what is measured."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parent / "load"


def build(directory: Path) -> Path:
    """Compile the load generator. Raises RuntimeError when there is no Go compiler."""
    go = shutil.which("go")
    if go is None:
        raise RuntimeError("the load generator needs the Go compiler: install Go 1.21 or newer and have `go` on PATH")
    binary = directory / "load"
    subprocess.run([go, "build", "-o", str(binary), "."], cwd=SOURCE, check=True)
    return binary


async def load(binary: Path, url: str, **options: object) -> dict[str, Any]:
    """One run; options are the program's flags. Returns what it measured."""
    flags = [f"-{name}={value}" for name, value in options.items()]
    process = await asyncio.create_subprocess_exec(str(binary), f"-url={url}", *flags, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the load generator ended with {process.returncode}")
    measured: dict[str, Any] = json.loads(output)
    return measured
