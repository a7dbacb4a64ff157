"""A queue has a bound: the reaper counts, the edge refuses, and takes jobs again when some have ended."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from shared.mongo.connection.client import Database
from tests.support.ingress.edge import EdgeProcess
from tests.support.ingress.server import ROOT, until
from tests.support.requests import EMBEDDING, EMBEDDINGS
from tests.support.servers.mongod import MongodSet

SECONDS = 60
BOUND = 5


@contextmanager
def reaper(edge: EdgeProcess, folder: Path) -> Iterator[None]:
    """`coatcheck reaper` beside an edge; SIGTERM ends it with 0."""
    with (folder / "reaper.log").open("w") as log:
        command = [sys.executable, "-m", "coatcheck", "reaper", "--admin-port", "0"]
        process = subprocess.Popen(command, env=edge.environ, cwd=ROOT, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(SECONDS) == 0


def test_submits_are_refused_above_the_bound_and_taken_again_below_it(mongod: MongodSet, tmp_path: Path) -> None:
    with (
        EdgeProcess(tmp_path, mongod.uri, max_pending_jobs=BOUND, reaper_interval_seconds=0.2) as edge,
        reaper(edge, tmp_path),
        httpx.Client(base_url=f"http://127.0.0.1:{edge.port}", timeout=SECONDS) as api,
    ):

        def submit() -> httpx.Response:
            return api.post(EMBEDDINGS, json=EMBEDDING)

        accepted = [submit() for _ in range(BOUND)]
        assert [answer.status_code for answer in accepted] == [202] * BOUND
        until(lambda: submit().status_code == 503, "a refusal", within=SECONDS)
        stored = edge.jobs()
        refused = submit()
        assert refused.status_code == 503, refused.text
        assert "too many embeddings jobs wait already" in refused.json()["error"]["message"]
        assert int(refused.headers["retry-after"]) > 0
        assert edge.jobs() == stored, "a refused job was stored"
        assert edge.metric('coatcheck_guard_refusals_total{reason="backlog"}') >= 2
        asyncio.run(edge.in_database(_empty))
        until(lambda: submit().status_code == 202, "room again", within=SECONDS)


async def _empty(database: Database) -> None:
    """As if workers had ended all of them."""
    await database.jobs.delete_many({"status": "pending"})
