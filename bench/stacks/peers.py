"""The peers: Celery, Taskiq and BullMQ, each one web process and one worker on a Redis of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.running import Children, Running, children, until_it_answers
from coatcheck.dev.child import ProgramMissing
from coatcheck.dev.ports import LOOPBACK, free_ports

PEER_PYTHON = "BENCH_PEER_PYTHON"
"""Environment variable: the Python that has requirements/bench-peers.txt installed."""
FOLDER = Path(__file__).parents[1] / "peers"
NODE_FOLDER = FOLDER / "bullmq"
OLDEST_NODE = 20
SLOTS = 500

Commands = tuple[Sequence[str], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Peer:
    """How one peer is started: `commands(port)` gives its web process and its worker. Raises ProgramMissing."""

    name: str
    commands: Callable[[int], Commands]
    fsync: str = "everysec"


@contextlib.asynccontextmanager
async def peer(directory: Path, upstream: str, which: Peer) -> AsyncIterator[Running]:
    """Redis with an append-only file, one web process, one worker. Raises ProgramMissing."""
    redis = shutil.which("redis-server")
    if redis is None:
        raise ProgramMissing("there is no redis-server on PATH (Debian: apt install redis-server)")
    redis_port, port = free_ports(2)
    web, worker = which.commands(port)
    url = f"http://{LOOPBACK}:{port}"
    environ = {
        "BENCH_REDIS": f"redis://{LOOPBACK}:{redis_port}/0",
        "BENCH_UPSTREAM": upstream,
        "BENCH_SLOTS": str(SLOTS),
        "PYTHONPATH": str(FOLDER.parent),
        "NODE_ENV": "production",
    }
    async with children(directory) as started:

        async def start_workers() -> None:
            started.start("worker", worker, environ)

        _start_redis(started, [redis, "--port", str(redis_port)], which.fsync)
        await start_workers()
        await until_it_answers(started.start("edge", web, environ), url)
        yield Running(which.name, url, started, start_workers)


def _start_redis(started: Children, command: Sequence[str], fsync: str) -> None:
    options: Mapping[str, str] = {
        "bind": LOOPBACK,
        "dir": str(started.directory),
        "appendonly": "yes",
        "appendfsync": fsync,
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    started.start("redis", [*command, *(word for name, value in options.items() for word in (f"--{name}", value))])


def _python() -> str:
    python = os.environ.get(PEER_PYTHON)
    if python is None or not Path(python).exists():
        raise ProgramMissing(f"{PEER_PYTHON} names no Python with requirements/bench-peers.txt: run `make bench`")
    return python


def _uvicorn(module: str, port: int) -> list[str]:
    options = ["--port", str(port), "--no-access-log", "--log-level", "warning", "--loop", "uvloop"]
    return [_python(), "-m", "uvicorn", f"peers.{module}:web", "--http", "httptools", *options]


def _celery(port: int) -> Commands:
    options = ["--pool", "threads", "--concurrency", "200", "--loglevel", "WARNING", "--without-gossip"]
    worker = [_python(), "-m", "celery", "-A", "peers.celery_app", "worker", *options, "--without-mingle"]
    return _uvicorn("celery_app", port), worker


def _taskiq(port: int) -> Commands:
    options = ["--workers", "1", "--max-async-tasks", str(SLOTS), "--ack-type", "when_saved", "--log-level", "WARNING"]
    return _uvicorn("taskiq_app", port), [_python(), "-m", "taskiq", "worker", "peers.taskiq_app:broker", *options]


def _bullmq(port: int) -> Commands:
    node = _node()
    return [node, str(NODE_FOLDER / "web.js"), str(port)], [node, str(NODE_FOLDER / "worker.js")]


def _node() -> str:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise ProgramMissing(f"there is no node and npm on PATH: install Node.js {OLDEST_NODE} or newer")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.lstrip("v").partition(".")[0]) < OLDEST_NODE:
        raise ProgramMissing(f"node is {version}: install Node.js {OLDEST_NODE} or newer")
    _install_packages(npm)
    return node


def _install_packages(npm: str) -> None:
    """What package-lock.json says, once. Install scripts do not run."""
    note, lock = NODE_FOLDER / "node_modules" / ".installed", NODE_FOLDER / "package-lock.json"
    if note.is_file() and note.read_bytes() == lock.read_bytes():
        return
    command = [npm, "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=NODE_FOLDER, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ProgramMissing(f"npm could not install its packages: {done.stderr.strip()[-300:]}")
    note.write_bytes(lock.read_bytes())


PEERS = (
    Peer("celery", _celery),
    Peer("taskiq", _taskiq),
    Peer("bullmq", _bullmq),
)
ALWAYS = (Peer("taskiq, fsync always", _taskiq, "always"), Peer("bullmq, fsync always", _bullmq, "always"))
