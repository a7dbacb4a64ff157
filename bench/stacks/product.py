"""Coatcheck as it is run, and the bare server that its edge stands on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.running import Running, children, until_it_answers
from coatcheck.dev.broker import Broker
from coatcheck.dev.component import INIT_SECONDS, Component, run_to_the_end
from coatcheck.dev.mongod import Mongod
from coatcheck.dev.ports import LOOPBACK, free_ports
from coatcheck.dev.supervisor import Part
from tests.support.servers.apache_kafka import ApacheKafka

SLOTS = 1000
_PROVIDERS = """\
[providers.upstream]
kind = "openai"
base_url = "{url}/v1"

[providers.batching]
kind = "openai"
base_url = "{url}/v1"
batch_texts = 64
"""


@dataclass(frozen=True, slots=True)
class Variant:
    """How the product is set up for a measurement."""

    name: str = "coatcheck"
    broker: str = "embedded"
    """embedded, apache (Java and Maven), or none: a bootstrap address where nothing listens."""
    workers: int = 1
    settings: Mapping[str, str] = field(default_factory=dict)
    """More COATCHECK_ variables."""


@contextlib.asynccontextmanager
async def constant(directory: Path) -> AsyncIterator[Running]:
    """The edge's own server with a constant answer."""
    (port,) = free_ports(1)
    url = f"http://{LOOPBACK}:{port}"
    async with children(directory) as started:
        child = started.start("edge", [sys.executable, "-m", "bench.stacks.constant_server", str(port)])
        await until_it_answers(child, url)

        async def nothing() -> None:
            """It has no workers."""

        yield Running("constant", url, started, nothing)


@dataclass(frozen=True, slots=True)
class _Roles:
    """Edge, reaper and workers: where the API answers, where each tells its metrics, and how each is started."""

    api: int
    admin: Mapping[str, int]
    parts: Mapping[str, Component]


@contextlib.asynccontextmanager
async def coatcheck(directory: Path, upstream: str, variant: Variant) -> AsyncIterator[Running]:
    """mongod, broker, one edge, workers and a reaper, as `make run` starts them but for the settings of the bench."""
    mongod = Mongod(directory, directory / "mongod.log")
    broker, bootstrap, fitting = _broker(directory, variant.broker)
    environ = _environment(directory, upstream, variant) | {
        **fitting,
        "COATCHECK_MONGODB_URI": mongod.uri,
        "COATCHECK_KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        **variant.settings,
    }
    roles = _roles(directory, environ, variant.workers)
    async with children(directory) as started:

        async def start(name: str, part: Part) -> None:
            started.running[name] = child = await asyncio.to_thread(part.start)
            await asyncio.to_thread(part.wait_ready, child)

        async def start_workers() -> None:
            for name, part in roles.parts.items():
                if name.startswith("worker"):
                    await start(name, part)

        await start("mongod", mongod)
        if isinstance(broker, ApacheKafka):
            await asyncio.to_thread(broker.start)
            started.running["broker"] = broker.child
        elif broker is not None:
            await start("broker", broker)
        await asyncio.to_thread(_init, _component(["init"], 0, directory, environ), with_broker=broker is not None)
        for name, part in roles.parts.items():
            await start(name, part)
        metrics = {name: f"http://{LOOPBACK}:{port}/metrics" for name, port in roles.admin.items()}
        url = f"http://{LOOPBACK}:{roles.api}"
        yield Running(variant.name, url, started, start_workers, metrics, mongod.uri, bootstrap)


def _roles(directory: Path, environ: Mapping[str, str], workers: int) -> _Roles:
    names = ["edge", "reaper", *(_worker_name(number) for number in range(workers))]
    api, *ports = free_ports(1 + len(names))
    admin = dict(zip(names, ports, strict=True))
    parts = {}
    for name, port in admin.items():
        arguments = [name.rstrip("0123456789"), "--admin-port", str(port)]
        if name == "edge":
            parts[name] = _component([*arguments, "--port", str(api)], api, directory, environ)
        else:
            parts[name] = _component(arguments, port, directory, environ)
    return _Roles(api, admin, parts)


def _init(init: Component, *, with_broker: bool) -> None:
    """Without a broker it makes the indexes, and then complains."""
    first = init.start()
    if with_broker:
        run_to_the_end(first, INIT_SECONDS)
    else:
        first.wait(INIT_SECONDS)


def _worker_name(number: int) -> str:
    return f"worker{number + 1}" if number else "worker"


def _environment(directory: Path, upstream: str, variant: Variant) -> dict[str, str]:
    config = directory / "coatcheck.toml"
    config.write_text(_PROVIDERS.format(url=upstream))
    return {
        **os.environ,
        "COATCHECK_CONFIG": str(config),
        "COATCHECK_ALLOW_ANONYMOUS": "true",
        "COATCHECK_SLOTS": str(SLOTS),
        "COATCHECK_LOG_LEVEL": "warning",
    }


def _broker(directory: Path, kind: str) -> tuple[Broker | ApacheKafka | None, str, Mapping[str, str]]:
    if kind == "none":
        return None, f"{LOOPBACK}:{free_ports(1)[0]}", {}
    if kind == "apache":
        kafka = ApacheKafka(directory / "kafka")
        return kafka, kafka.bootstrap, {"COATCHECK_KAFKA_PARTITIONS": "2"}
    embedded = Broker(directory / "broker.log")
    return embedded, embedded.bootstrap, embedded.settings


def _component(arguments: Sequence[str], port: int, directory: Path, environ: Mapping[str, str]) -> Component:
    logs = directory / f"{arguments[0]}{port}"
    return Component(arguments, ready_port=port, stop_seconds=30.0, logs=logs, environ=environ)
