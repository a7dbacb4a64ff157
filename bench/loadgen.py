"""Builds and runs the load generator and the scripted upstream: Go programs, so that neither is what is measured."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.running import children, until_it_answers
from bench.stacks.processes import usage
from coatcheck.dev.ports import LOOPBACK, free_ports

SOURCE = Path(__file__).parent / "load"


class GoMissing(Exception):
    """There is no Go compiler."""


def build(directory: Path) -> Path:
    """Compile both. Raises GoMissing."""
    go = shutil.which("go")
    if go is None:
        raise GoMissing("the load generator needs the Go compiler: install Go 1.19 or newer and have `go` on PATH")
    binary = directory / "load"
    subprocess.run([go, "build", "-o", str(binary), "."], cwd=SOURCE, check=True)
    return binary


@dataclass(frozen=True, slots=True)
class Asked:
    """One kind of request. `{n}` in its body becomes a marker that names the job."""

    path: str
    body: bytes
    content_type: str = "application/json"

    def as_json(self) -> dict[str, str]:
        """As the load generator reads it."""
        return {
            "path": self.path,
            "content_type": self.content_type,
            "body": base64.b64encode(self.body).decode(),
        }


def embedding(script: str = "", *, provider: str = "upstream") -> Asked:
    """A small embedding request; the upstream does what the script says, such as latency=100."""
    body = {"model": f"{provider}/{script or 'fast'}", "input": "{n} the cat sat on the mat"}
    return Asked("/v1/async/embeddings", json.dumps(body).encode())


class Loads:
    """Runs of the load generator, each with job markers of its own."""

    def __init__(self, binary: Path, directory: Path) -> None:
        self.binary = binary
        self.scratch = directory
        self._runs = 0

    async def run(self, url: str, asked: Sequence[Asked], **options: object) -> dict[str, Any]:
        """One run; options are the program's flags. Returns what it measured."""
        self._runs += 1
        number = self._runs
        requests = self.scratch / f"requests-{number}.json"
        await asyncio.to_thread(requests.write_text, json.dumps([each.as_json() for each in asked]))
        flags = [f"-{name}={_flag(value)}" for name, value in options.items()]
        flags += [f"-url={url}", f"-requests={requests}", f"-marker=m{number}"]
        process = await asyncio.create_subprocess_exec(str(self.binary), "run", *flags, stdout=asyncio.subprocess.PIPE)
        try:
            output, _ = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            raise
        requests.unlink()
        if process.returncode != 0:
            raise RuntimeError(f"the load generator ended with {process.returncode}")
        measured: dict[str, Any] = json.loads(output)
        return measured


def _flag(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class Upstream:
    """The running upstream."""

    url: str
    group: int

    async def counters(self) -> dict[str, int]:
        """What it has counted since the last reset."""
        counted: dict[str, int] = json.loads(await asyncio.to_thread(self._ask, "GET", "/counters"))
        return counted

    async def reset(self) -> None:
        """Forget what was counted."""
        await asyncio.to_thread(self._ask, "POST", "/reset")

    def cpu(self) -> float:
        """Seconds used so far."""
        return usage(self.group).cpu

    def _ask(self, method: str, path: str) -> bytes:
        with urllib.request.urlopen(urllib.request.Request(self.url + path, method=method), timeout=10) as answer:
            content: bytes = answer.read()
        return content


@contextlib.asynccontextmanager
async def upstream(binary: Path, directory: Path) -> AsyncIterator[Upstream]:
    """The upstream that all stacks call, in a process of its own."""
    (port,) = free_ports(1)
    async with children(directory) as started:
        child = started.start("upstream", [str(binary), "upstream", "-port", str(port)])
        url = f"http://{LOOPBACK}:{port}"
        await until_it_answers(child, url)
        yield Upstream(url, child.pid)
