"""Results that clients read slowly from the real edge: small ones always come, and large places come free again."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.ingress.edge import EdgeProcess
from tests.support.ingress.server import Raw, head, post, until
from tests.support.servers.mongod import MongodSet

MIB = 1024 * 1024
PLACES = 3
"""Of 8 MB for large results; a quarter of all is kept for small ones."""
SUBMIT = post(b'{"model":"openai/m","input":"a text"}', target="/v1/async/embeddings")


@pytest.fixture
def edge(mongod: MongodSet, tmp_path: Path) -> Iterator[EdgeProcess]:
    with EdgeProcess(tmp_path, mongod.uri, max_inflight_bytes=PLACES * 8 * MIB * 4 // 3) as running:
        yield running
        assert not running.complaints()


def poll_of(edge: EdgeProcess, size: int) -> bytes:
    """The request for a result of this size."""
    job_id = json.loads(edge.exchange(SUBMIT).body)["id"]
    edge.end(job_id, b'{"a":"' + b"x" * (size - 8) + b'"}')
    return head(f"GET /v1/async/embeddings/{job_id} HTTP/1.1", "Host: door")


def read_slowly(raw: Raw, stop: threading.Event) -> None:
    """40 kB a second, until told to stop or cut off."""
    try:
        while not stop.wait(0.5) and raw.socket.recv(20_000):
            pass
    except OSError:
        return


def test_slow_readers_of_large_results_hold_up_no_small_one_and_no_large_one_for_long(edge: EdgeProcess) -> None:
    large, small = poll_of(edge, 20 * MIB), poll_of(edge, 36_000)
    stop = threading.Event()
    with ExitStack() as opened:
        opened.callback(stop.set)
        for _ in range(PLACES + 1):  # the last one is refused
            raw = opened.enter_context(edge.raw())
            raw.send(large)
            raw.next_line()
            threading.Thread(target=read_slowly, args=(raw, stop), daemon=True).start()
        assert edge.exchange(large).status == 503
        for _ in range(20):
            assert edge.exchange(small).status == 200
        until(lambda: edge.exchange(large).status == 200, "a large place comes free", within=60)
        assert edge.exchange(small).status == 200
