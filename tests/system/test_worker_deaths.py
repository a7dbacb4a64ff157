"""Real workers killed with SIGKILL while most of their jobs wait for the one call that may run at a time."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.mongo.connection.client import Database
from shared.mongo.mongo_store import MongoStore
from tests.support.ingress.edge import ADMIN, EdgeProcess
from tests.support.ingress.server import ROOT, ask
from tests.support.jobs import BODY, eventually, new_job
from tests.support.servers.mongod import MongodSet

JOBS, DEATHS, SECONDS = 40, 6, 120.0
"""More deaths than a job may have crashes."""
SETTINGS: dict[str, Any] = {"lease_seconds": 2, "sweep_interval_seconds": 0.1, "sweep_grace_seconds": 0.1}
PROVIDER = '[providers.openai]\nbase_url = "http://127.0.0.1:{port}/v1"\nmax_concurrency = 1\nbatch_texts = 1\n'
ANSWER = b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5]}],"model":"m"}'


@dataclass
class Upstream:
    """Counts what it is asked, by body. Until it is `open` it answers only what it was asked before."""

    asked: Counter[bytes] = field(default_factory=Counter)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"content-length: *(\d+)", head.lower())
                body = await reader.readexactly(int(length[1]) if length else 0)
                self.asked[body] += 1
                if self.asked[body] == 1:
                    await self.open.wait()
                answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                writer.write(answer % (len(ANSWER), ANSWER))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@dataclass
class Worker:
    """`coatcheck worker`, and what it said of itself last."""

    edge: EdgeProcess
    log: Path

    def __post_init__(self) -> None:
        with self.log.open("w") as log:
            command = [sys.executable, "-m", "coatcheck", "worker", "--admin-port", "0"]
            self.process = subprocess.Popen(command, env=self.edge.environ, cwd=ROOT, stderr=log)

    def repeated(self) -> float:
        """Calls made again that it has counted."""
        found = ADMIN.search(self.log.read_text())
        assert found
        _, text = ask(int(found[1]), "/metrics")
        lines = [line for line in text.splitlines() if line.startswith("coatcheck_provider_calls_repeated_total{")]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


async def _holds_all(database: Database, pid: int) -> bool:
    """Whether this worker holds all jobs that have not ended and has said of each whether its call has begun."""
    said = {"status": "processing", "lease.worker": {"$regex": f"-{pid}-"}}
    begun = await database.jobs.count_documents(said | {"lease.began": True})
    waiting = await database.jobs.count_documents(said | {"lease.began": False})
    ended = await database.jobs.count_documents({"status": "completed"})
    return (begun, waiting) == (1, JOBS - ended - 1)


async def _dies(database: Database, worker: Worker, upstream: Upstream, fresh: int) -> float:
    """Kill it while its call, of the job number `fresh` that is called for, is under way; the calls it made again."""

    async def at_work() -> bool:
        return len(upstream.asked) == fresh and await _holds_all(database, worker.process.pid)

    try:
        await eventually(at_work, within=SECONDS)
        return await asyncio.to_thread(worker.repeated)
    finally:
        worker.kill()


async def _finishes(database: Database, worker: Worker) -> float:
    """Let it do the rest; the calls it made again."""

    async def all_ended() -> bool:
        return await database.jobs.count_documents({"status": {"$in": ["completed", "failed"]}}) == JOBS

    try:
        await eventually(all_ended, within=SECONDS)
        return await asyncio.to_thread(worker.repeated)
    finally:
        worker.kill()


async def _through(database: Database, edge: EdgeProcess, folder: Path, upstream: Upstream) -> tuple[int, float]:
    store = MongoStore(database, edge.settings)
    bodies = [BODY.replace(b"}", b',"user":"%d"}' % number) for number in range(JOBS)]
    await store.submit([(new_job(store.now(), body=body), None) for body in bodies])
    repeated = 0.0
    for death in range(DEATHS):
        repeated += await _dies(database, Worker(edge, folder / f"worker{death}.log"), upstream, death + 1)
    upstream.open.set()
    repeated += await _finishes(database, Worker(edge, folder / "last.log"))
    return await database.jobs.count_documents({"status": "completed"}), repeated


def test_jobs_that_wait_for_their_call_outlive_any_number_of_workers_and_only_calls_made_again_are_counted(
    mongod: MongodSet, tmp_path: Path
) -> None:
    upstream = Upstream()

    async def run(database: Database) -> tuple[int, float]:
        server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
        (tmp_path / "coatcheck.toml").write_text(PROVIDER.format(port=server.sockets[0].getsockname()[1]))
        try:
            return await _through(database, edge, tmp_path, upstream)
        finally:
            server.close()

    with EdgeProcess(tmp_path, mongod.uri, **SETTINGS) as edge:
        completed, repeated = asyncio.run(edge.in_database(run))
    assert completed == JOBS
    assert repeated == sum(upstream.asked.values()) - len(upstream.asked)
    assert repeated >= DEATHS
