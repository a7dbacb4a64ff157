"""The brokers of a drill: the embedded one, or nodes of Apache Kafka, each behind doors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from coatcheck.dev.apache_kafka import KafkaNode, NodePorts
from coatcheck.dev.broker import Broker
from coatcheck.dev.ports import LOOPBACK, free_ports
from coatcheck.drill.member import Member
from coatcheck.drill.network import Network

_HEAP_MB = 256


@dataclass(frozen=True, slots=True)
class Brokers:
    """All of them. `settings` are variables that suit them; `forgetful` if they lose their topics when they stop."""

    members: list[Member]
    bootstrap: str
    settings: Mapping[str, str]
    forgetful: bool


async def open_brokers(directory: Path, network: Network, count: int, *, apache: bool, host: str = LOOPBACK) -> Brokers:
    """Say who the brokers are and open their doors. The embedded one can go by another name of this `host`."""
    if not apache:
        return await _embedded(directory, network, host)
    nodes = [await _doors(network, f"broker{number}") for number in range(count)]
    parts = [KafkaNode(directory / f"broker{i}", i, nodes, heap_mb=_HEAP_MB) for i in range(count)]
    return Brokers(
        members=[Member("broker", i, part, prepare=part.prepare, wipe=part.wipe) for i, part in enumerate(parts)],
        bootstrap=",".join(part.bootstrap for part in parts),
        settings={"COATCHECK_KAFKA_PARTITIONS": "3"},
        forgetful=False,
    )


async def _embedded(directory: Path, network: Network, host: str) -> Brokers:
    (port,) = free_ports(1)
    door = await network.open_door("broker0", port)
    broker = Broker(directory / "broker.log", port=port, advertised=door, host=host)
    return Brokers([Member("broker", 0, broker)], broker.bootstrap, broker.settings, forgetful=True)


async def _doors(network: Network, name: str) -> NodePorts:
    listen, controller = free_ports(2)
    return NodePorts(
        listen, controller, await network.open_door(name, listen), await network.open_door(name, controller)
    )
