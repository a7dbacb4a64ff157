"""What is measured: Coatcheck, the bare server it stands on, and the peer; each started, metered and stopped alike."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Usage, usage
from coatcheck.dev.broker import Broker
from coatcheck.dev.child import Child, ProgramMissing
from coatcheck.dev.component import INIT_SECONDS, Component, run_to_the_end
from coatcheck.dev.mongod import Mongod
from coatcheck.dev.ports import LOOPBACK, free_ports
from coatcheck.dev.supervisor import Part

ROOT = Path(__file__).parents[1]
READY_SECONDS = 60.0
PEER_PYTHON = "BENCH_PEER_PYTHON"
"""Environment variable: the Python that has requirements/bench-peers.txt installed."""

_PROVIDER = '[providers.upstream]\nkind = "openai"\nbase_url = "{url}/v1"\n'


@dataclass(frozen=True, slots=True)
class Running:
    """A started stack: where it answers, and its process groups by component."""

    url: str
    groups: Mapping[str, int]

    def used(self) -> dict[str, Usage]:
        """What each component has used so far."""
        return {name: usage(group) for name, group in self.groups.items()}


class Children:
    """Started in order, stopped in reverse."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.running: dict[str, Child] = {}

    def start(self, name: str, command: Sequence[str], environ: Mapping[str, str] | None = None) -> Child:
        """Start one process with the environment and some more."""
        log = self.directory / f"{name}.log"
        child = Child(name, command, log=log, environ={**os.environ, **(environ or {})})
        self.running[name] = child
        return child

    async def stop(self) -> None:
        """Stop all."""
        for child in reversed(self.running.values()):
            await asyncio.to_thread(child.stop, 20.0)
            child.kill()


@contextlib.asynccontextmanager
async def constant(directory: Path) -> AsyncIterator[Running]:
    """The edge's own server with a constant answer."""
    children = Children(directory)
    (port,) = free_ports(1)
    url = f"http://{LOOPBACK}:{port}"
    try:
        child = children.start("constant", [sys.executable, "-m", "bench.constant_server", str(port)])
        await asyncio.to_thread(child.wait_ready, lambda: answers(url), READY_SECONDS)
        yield Running(url, {"edge": child.pid})
    finally:
        await children.stop()


@contextlib.asynccontextmanager
async def coatcheck(directory: Path, upstream: str, *, workers: int = 1) -> AsyncIterator[Running]:
    """mongod, broker, one edge, workers and a keeper, as `make run` starts them but for the settings of the bench."""
    children = Children(directory)
    mongod, broker = Mongod(directory, directory / "mongod.log"), Broker(directory / "broker.log")
    config = directory / "coatcheck.toml"
    await asyncio.to_thread(config.write_text, _PROVIDER.format(url=upstream))
    environ = {
        **broker.settings,
        **os.environ,
        "COATCHECK_CONFIG": str(config),
        "COATCHECK_MONGODB_URI": mongod.uri,
        "COATCHECK_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap,
        "COATCHECK_ALLOW_ANONYMOUS": "true",
        "COATCHECK_SLOTS": "1000",
        "COATCHECK_LOG_LEVEL": "warning",
    }
    edge_port, *admin_ports = free_ports(2 + workers)
    parts: dict[str, Part] = {
        "mongod": mongod,
        "broker": broker,
        "edge": _component(["edge", "--port", str(edge_port), "--admin-port", "0"], edge_port, directory, environ),
    }
    for number, port in enumerate(admin_ports[1:], 1):
        parts[f"worker{number}"] = _component(["worker", "--admin-port", str(port)], port, directory, environ)
    keeper_port = admin_ports[0]
    parts["keeper"] = _component(["keeper", "--admin-port", str(keeper_port)], keeper_port, directory, environ)
    try:
        for name, part in parts.items():
            children.running[name] = child = part.start()
            await asyncio.to_thread(part.wait_ready, child)
            if name == "broker":
                await asyncio.to_thread(
                    run_to_the_end, _component(["init"], 0, directory, environ).start(), INIT_SECONDS
                )
        yield Running(f"http://{LOOPBACK}:{edge_port}", {name: each.pid for name, each in children.running.items()})
    finally:
        await children.stop()


def _component(arguments: Sequence[str], port: int, directory: Path, environ: Mapping[str, str]) -> Component:
    logs = directory / f"{arguments[0]}{port}"
    return Component(arguments, ready_port=port, stop_seconds=30.0, logs=logs, environ=environ)


@contextlib.asynccontextmanager
async def celery(directory: Path, upstream: str) -> AsyncIterator[Running]:
    """Redis with an append-only file, one Starlette edge, one Celery worker of 200 threads."""
    server, python = shutil.which("redis-server"), os.environ.get(PEER_PYTHON)
    if server is None or python is None:
        raise ProgramMissing(f"the peer needs redis-server on PATH and {PEER_PYTHON}: see docs/performance.md")
    children = Children(directory)
    redis_port, port = free_ports(2)
    url = f"http://{LOOPBACK}:{port}"
    environ = {
        "BENCH_REDIS": f"redis://{LOOPBACK}:{redis_port}/0",
        "BENCH_UPSTREAM": upstream,
        "PYTHONPATH": str(ROOT / "bench"),
    }
    module = "peers.celery_app"
    try:
        children.start(
            "redis",
            [
                *(server, "--port", str(redis_port), "--bind", LOOPBACK, "--dir", str(directory)),
                *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
            ],
        )
        children.start(
            "worker",
            [
                *(python, "-m", "celery", "-A", module, "worker", "--pool", "threads", "--concurrency", "200"),
                *("--loglevel", "WARNING", "--without-gossip", "--without-mingle"),
            ],
            environ,
        )
        edge = children.start(
            "edge",
            [
                python,
                "-m",
                "uvicorn",
                f"{module}:web",
                "--port",
                str(port),
                "--no-access-log",
                "--log-level",
                "warning",
            ],
            environ,
        )
        await asyncio.to_thread(edge.wait_ready, lambda: answers(url), READY_SECONDS)
        yield Running(url, {name: child.pid for name, child in children.running.items()})
    finally:
        await children.stop()


@contextlib.asynccontextmanager
async def scripted_upstream(directory: Path) -> AsyncIterator[str]:
    """The upstream that all stacks call, in a process of its own; yields its address."""
    children = Children(directory)
    (port,) = free_ports(1)
    url = f"http://{LOOPBACK}:{port}"
    try:
        child = children.start("upstream", [sys.executable, "-m", "coatcheck.drill.upstream", "--port", str(port)])
        await asyncio.to_thread(child.wait_ready, lambda: answers(url), READY_SECONDS)
        yield url
    finally:
        await children.stop()


def answers(url: str) -> bool:
    """Whether anything speaks HTTP there."""
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
