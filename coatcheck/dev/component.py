"""A component of the product as a child: the command that an operator would run, ready when /readyz says so."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

from coatcheck.dev.child import Child, ChildFailed
from coatcheck.dev.ports import LOOPBACK

READY_SECONDS = 60.0
INIT_SECONDS = 60.0
COMMAND = (sys.executable, "-m", "coatcheck.cli.main")
EMBEDDINGS = "/v1/async/embeddings"
EXAMPLE = {"model": "local/minilm", "input": "the cat sat"}

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # not through the environment's proxy
_PROBE_SECONDS = 2.0
_CALL_SECONDS = 10.0
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Component:
    """One `coatcheck` command. `arguments` begin with its name; `ready_port` is where it answers /readyz."""

    arguments: Sequence[str]
    _: KW_ONLY
    ready_port: int
    stop_seconds: float
    logs: Path
    environ: Mapping[str, str] = field(repr=False)
    held: Sequence[int] = ()
    command: Sequence[str] = COMMAND

    @property
    def name(self) -> str:
        return self.arguments[0]

    def start(self) -> Child:
        command, log = [*self.command, *self.arguments], self.logs / f"{self.name}.log"
        return Child(self.name, command, log=log, environ=self.environ, held=self.held)

    def wait_ready(self, child: Child) -> None:
        child.wait_ready(self._is_ready, READY_SECONDS)

    def _is_ready(self) -> bool:
        try:
            with _OPENER.open(f"http://{LOOPBACK}:{self.ready_port}/readyz", timeout=_PROBE_SECONDS) as answer:
                return bool(answer.status == 200)
        except OSError:  # refused, reset, timed out, or an HTTP error such as 503
            return False


def run_to_the_end(child: Child, timeout: float) -> None:
    """Block until a command that ends by itself has. Raises ChildFailed if it takes too long or fails."""
    if child.wait(timeout) is None:
        raise ChildFailed(f"{child.name} did not end within {timeout:g} s{child.last_lines()}")
    if child.exit_code != 0:
        raise ChildFailed(child.epitaph())


class ProofFailed(Exception):
    """The test job did not end with an embedding; the message says what came instead."""


def smoke_test(port: int, timeout: float) -> float:
    """Embed a text through the API: submit, poll, look at the vector. The seconds it took. Raises ProofFailed."""
    began = time.monotonic()
    submitted = _call(port, EMBEDDINGS, EXAMPLE)
    while time.monotonic() < began + timeout:
        job = _call(port, f"{EMBEDDINGS}/{submitted['id']}")
        if job["status"] == "completed":
            if not any(job["result"]["data"][0]["embedding"] or ()):
                raise ProofFailed("the test job's result holds no embedding")
            return time.monotonic() - began
        if job["status"] == "failed":
            raise ProofFailed(f"the test job failed: {json.dumps(job.get('error'))}")
        time.sleep(_POLL_SECONDS)
    raise ProofFailed(f"the test job {submitted['id']} did not end within {timeout:g} s")


def _call(port: int, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    headers = {"content-type": "application/json", "x-bf-async-job-result-ttl": "60"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{LOOPBACK}:{port}{path}", data, headers)
    try:
        with _OPENER.open(request, timeout=_CALL_SECONDS) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as error:
        raise ProofFailed(f"{path} answered {error.code}: {error.read(1000).decode(errors='replace')}") from None
    except (OSError, ValueError) as error:
        raise ProofFailed(f"{path}: {error}") from None
