"""A real worker whose provider sends many large answers at once, of a length that it does not say."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.mongo.connection.client import Database
from shared.mongo.mongo_store import MongoStore
from shared.settings.table import MIB
from tests.support.ingress.edge import EdgeProcess
from tests.support.ingress.server import ROOT
from tests.support.jobs import eventually, new_job
from tests.support.servers.mongod import MongodSet

JOBS, ANSWER_BYTES, HELD_BYTES = 60, 8 * MIB, 32 * MIB
IDLE_MB = 90
"""What a worker takes without any job, roughly."""
HANDLING_MB = 16 * ANSWER_BYTES // MIB
"""Some answers are joined, checked, made a result of and sent to the database; of those that wait, a piece is here."""
SECONDS = 120.0


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One embedding of ANSWER_BYTES in chunks of 64 KB to whatever is asked, then the end."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: *(\d+)", head.lower())
    await reader.readexactly(int(length[1]) if length else 0)
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
    writer.write(b'1e\r\n{"data":[{"embedding":[],"x":"\r\n')
    for _ in range(ANSWER_BYTES // 65536):
        writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        await writer.drain()
    writer.write(b'4\r\n"}]}\r\n0\r\n\r\n')
    await writer.drain()
    writer.close()


@contextmanager
def _worker(edge: EdgeProcess, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "worker.log").open("w") as log:
        command = [sys.executable, "-m", "coatcheck", "worker", "--admin-port", "0"]
        process = subprocess.Popen(command, env=edge.environ, cwd=ROOT, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        assert process.wait(SECONDS) == 0


def _most_memory(pid: int) -> int:
    """MB that a process held at most."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) // 1024


async def _through(database: Database, edge: EdgeProcess, folder: Path) -> int:
    store = MongoStore(database, edge.settings)
    await store.submit([(new_job(store.now()), None) for _ in range(JOBS)])
    with _worker(edge, folder) as worker:

        async def all_ended() -> bool | None:
            return await database.jobs.count_documents({"status": "completed"}) == JOBS or None

        await eventually(all_ended, within=SECONDS)
        return _most_memory(worker.pid)


def test_many_large_answers_at_once_leave_a_worker_within_its_bound(mongod: MongodSet, tmp_path: Path) -> None:
    async def run(database: Database) -> int:
        server = await asyncio.start_server(_answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        (tmp_path / "coatcheck.toml").write_text(f'[providers.openai]\nbase_url = "http://127.0.0.1:{port}/v1"\n')
        async with server:
            return await _through(database, edge, tmp_path)

    with EdgeProcess(tmp_path, mongod.uri, unrecorded_bytes=HELD_BYTES) as edge:
        most = asyncio.run(edge.in_database(run))
    assert most < IDLE_MB + HELD_BYTES // MIB + HANDLING_MB, "answers were held beyond the bound"
