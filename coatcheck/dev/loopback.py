"""HTTP to our own children. Blocks; never goes through a proxy that the environment names."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any

from coatcheck.dev.ports import LOOPBACK

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_PROBE_SECONDS = 2.0
_CALL_SECONDS = 10.0
_POLL_SECONDS = 0.02

EMBEDDINGS = "/v1/async/embeddings"
EXAMPLE = {"model": "local/minilm", "input": "the cat sat"}


class ProofFailed(Exception):
    """The test job did not end with an embedding; the message says what came instead."""


def is_ready(port: int) -> bool:
    """Whether the process that listens there says that it is ready for work."""
    try:
        with _OPENER.open(f"http://{LOOPBACK}:{port}/readyz", timeout=_PROBE_SECONDS) as answer:
            return bool(answer.status == 200)
    except OSError:  # refused, reset, timed out, or an HTTP error such as 503
        return False


def prove(port: int, timeout: float) -> float:
    """Embed a text through the API: submit, poll, look at the vector. The seconds it took. Raises ProofFailed."""
    began = time.monotonic()
    submitted = _call(port, EMBEDDINGS, EXAMPLE)
    while time.monotonic() < began + timeout:
        job = _call(port, f"{EMBEDDINGS}/{submitted['id']}")
        if job["status"] == "completed":
            _check_vector(job)
            return time.monotonic() - began
        if job["status"] == "failed":
            raise ProofFailed(f"the test job failed: {json.dumps(job.get('error'))}")
        time.sleep(_POLL_SECONDS)
    raise ProofFailed(f"the test job {submitted['id']} did not end within {timeout:g} s")


def _check_vector(job: dict[str, Any]) -> None:
    vector = job["result"]["data"][0]["embedding"]
    if not vector or not any(vector):
        raise ProofFailed("the test job's result holds no embedding")


def _call(port: int, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    headers = {"content-type": "application/json", "x-bf-async-job-result-ttl": "60"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{LOOPBACK}:{port}{path}", data, headers)
    try:
        with _OPENER.open(request, timeout=_CALL_SECONDS) as answer:
            parsed: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        raise ProofFailed(f"{path} answered {error.code}: {error.read(1000).decode(errors='replace')}") from None
    except (OSError, ValueError) as error:
        raise ProofFailed(f"{path}: {error}") from None
    return parsed
