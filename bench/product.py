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
from tests.support.apache_kafka import ApacheKafka

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
        child = started.start("edge", [sys.executable, "-m", "bench.constant_server", str(port)])
        await until_it_answers(child, url)

        async def nothing() -> None:
            """It has no workers."""

        yield Running("constant", url, started, nothing)


@contextlib.asynccontextmanager
async def coatcheck(directory: Path, upstream: str, variant: Variant) -> AsyncIterator[Running]:
    """mongod, broker, one edge, workers and a keeper, as `make run` starts them but for the settings of the bench."""
    mongod = Mongod(directory, directory / "mongod.log")
    broker, bootstrap, fitting = _broker(directory, variant.broker)
    environ = _environment(directory, upstream, variant) | {
        **fitting,
        "COATCHECK_MONGODB_URI": mongod.uri,
        "COATCHECK_KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        **variant.settings,
    }
    ports = free_ports(3 + variant.workers)
    api, admin = ports[0], {"edge": ports[1], "keeper": ports[2]}
    admin |= {_worker_name(number): ports[3 + number] for number in range(variant.workers)}
    commands = {"edge": ["edge", "--port", str(api), "--admin-port", str(admin["edge"])]}
    commands |= {
        name: [name.rstrip("0123456789"), "--admin-port", str(port)] for name, port in admin.items() if name != "edge"
    }
    async with children(directory) as started:

        async def start(name: str, part: Part) -> None:
            started.running[name] = child = await asyncio.to_thread(part.start)
            await asyncio.to_thread(part.wait_ready, child)

        async def start_workers() -> None:
            for name in admin:
                if name.startswith("worker"):
                    await start(name, _component(commands[name], admin[name], directory, environ))

        await start("mongod", mongod)
        if isinstance(broker, ApacheKafka):
            await asyncio.to_thread(broker.start)
            started.running["broker"] = broker.child
        elif broker is not None:
            await start("broker", broker)
        first = _component(["init"], 0, directory, environ).start()
        if broker is None:  # it makes the indexes, then complains about the broker
            await asyncio.to_thread(first.wait, INIT_SECONDS)
        else:
            await asyncio.to_thread(run_to_the_end, first, INIT_SECONDS)
        for name, command in commands.items():
            await start(name, _component(command, api if name == "edge" else admin[name], directory, environ))
        yield Running(
            variant.name,
            f"http://{LOOPBACK}:{api}",
            started,
            start_workers,
            {name: f"http://{LOOPBACK}:{port}/metrics" for name, port in admin.items()},
            database=mongod.uri,
            bootstrap=bootstrap,
        )


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
