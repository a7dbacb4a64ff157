"""Two thousand slow connections against the real edge command: who sends a request at once notices nothing."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.ingress.abuse import WELL, get, post
from tests.support.ingress.edge import EdgeProcess
from tests.support.ingress.server import ROOT, until
from tests.support.servers.mongod import MongodSet

EACH_KIND = 500
REQUESTS = 400
NOTICED = 0.05
"""Seconds below which a p99 is fine whatever it was before: two busy cores are no laboratory."""
ROUNDS = 4
SPARE_FILES = 100
"""Descriptors beside the clients': the pool of database connections grows with what is asked of it."""
RESULT = b'{"data":"' + b"x" * 20_000_000 + b'"}'
MEMORY = 600 * 1024 * 1024
"""256 MB of results on their way out, what their sockets hold, and the edge itself."""


@contextmanager
def flooded(edge: EdgeProcess, large_result: str) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.support.ingress.flood", str(edge.port), str(EACH_KIND), large_result]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as flood:
        try:
            assert flood.stdout is not None
            assert flood.stdout.readline() == "up\n"
            yield
            assert flood.poll() is None
        finally:
            flood.kill()


def p99(edge: EdgeProcess) -> float:
    """Seconds that all but a hundredth of normal submits take; each tenth comes on a connection of its own."""
    took = []
    for _ in range(REQUESTS // 10):
        with edge.raw() as raw:
            for _ in range(10):
                began = time.perf_counter()
                raw.send(post(WELL))
                assert raw.answer().status == 202
                took.append(time.perf_counter() - began)
    return sorted(took)[-len(took) // 100]


def test_two_thousand_slow_connections_leave_normal_clients_unharmed(mongod: MongodSet, tmp_path: Path) -> None:
    with EdgeProcess(tmp_path, mongod.uri) as edge:
        submitted = edge.exchange(post(WELL))
        edge.end(submitted.json["id"], RESULT)
        before = p99(edge)
        files = edge.descriptors()
        measured: list[float] = []
        with flooded(edge, submitted.headers["location"]):
            while len(measured) < ROUNDS and (not measured or min(measured) > max(2 * before, NOTICED)):
                measured.append(p99(edge))
                assert edge.descriptors() <= files + 4 * EACH_KIND + SPARE_FILES
                assert edge.memory() < MEMORY
            held = edge.descriptors() - files
            memory = edge.memory()
        print(f"p99 {before:.4f} s, with {held} slow connections {min(measured):.4f} s, {memory >> 20} MB held")
        assert min(measured) <= max(2 * before, NOTICED), measured
        assert held > EACH_KIND, "nobody was there to be slow"
        until(lambda: edge.descriptors() <= files + SPARE_FILES, "all connections closed", within=30)
        assert edge.exchange(get("/livez")).status == 200
        assert edge.stop() == 0
        assert not edge.complaints()
