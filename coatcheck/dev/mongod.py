"""mongod as a child: found on PATH or in the wheel, one node, made a replica set, its data kept over restarts."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from coatcheck.dev.child import Child, ChildFailed, ProgramMissing
from coatcheck.dev.ports import LOOPBACK, free_ports, is_free
from shared.errors import StoreUnavailable
from shared.mongo.replica_set import SET_NAME, initiate_single_node, mongod_answers, wait_primary

PORTS = range(27018, 27118)
READY_SECONDS = 90.0
"""Long enough for the recovery after a kill -9 on a slow disk."""


def find_mongod() -> Path:
    """The mongod to run: on PATH, or as it came in a package. Raises ProgramMissing."""
    on_path = shutil.which("mongod")
    if on_path:
        return Path(on_path)
    package = importlib.util.find_spec("fiftyone")
    for folder in (package and package.submodule_search_locations) or ():
        binary = Path(folder, "db", "bin", "mongod")
        if binary.is_file():
            return binary
    raise ProgramMissing("no mongod on PATH or among the packages: run `make run`, or use yours with MONGODB_URI=...")


def mongod_command(binary: Path, data: Path, port: int, *, parameters: Sequence[str] = ()) -> list[str]:
    """The command line of one loopback-only member with small files. `parameters` are name=value server parameters."""
    command = [str(binary), "--replSet", SET_NAME, "--dbpath", str(data), "--bind_ip", LOOPBACK, "--port", str(port)]
    command += ["--quiet", "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "256"]
    command += ["--wiredTigerEngineConfigString", "log=(file_max=16MB,prealloc=false)"]
    # The default waits 15 s for a successor before it stops; diagnostic data nobody will read costs disk and CPU.
    for parameter in (
        "shutdownTimeoutMillisForSignaledShutdown=100",
        "diagnosticDataCollectionEnabled=false",
        *parameters,
    ):
        command += ["--setParameter", parameter]
    return command


def remembered_port(data: Path) -> int:
    """The port of the last run if it is free, else another one.

    It stays the same because it is written in the replica set's own configuration, and lies where no system picks ports
    for outgoing connections.
    """
    note = data / "port"
    last = note.read_text() if note.is_file() else ""
    used_before = [int(last)] if last.isdecimal() else []
    port = next(port for port in chain(used_before, PORTS, free_ports(1)) if is_free(LOOPBACK, port))
    note.write_text(str(port))
    return port


class Mongod:
    """A replica set of one whose files live in `data`. `uri` is for clients, once it is ready."""

    name = "mongod"
    stop_seconds = 30.0

    def __init__(self, data: Path, log: Path, *, held: Sequence[int] = ()) -> None:
        self.binary = find_mongod()
        files = data / "db"
        files.mkdir(parents=True, exist_ok=True)
        self.port = remembered_port(data)
        self.uri = f"mongodb://{LOOPBACK}:{self.port}/?replicaSet={SET_NAME}"
        self._command = mongod_command(self.binary, files, self.port)
        self._log = log
        self._held = held

    def start(self) -> Child:
        """Start it; `wait_ready` says when it can be used."""
        return Child(self.name, self._command, log=self._log, held=self._held)

    def wait_ready(self, child: Child) -> None:
        """Block until it is a primary. Raises ChildFailed."""
        child.wait_ready(lambda: mongod_answers(f"{LOOPBACK}:{self.port}"), READY_SECONDS)
        try:
            initiate_single_node(self.uri)
            wait_primary(self.uri, READY_SECONDS)
        except (StoreUnavailable, TimeoutError) as error:
            raise ChildFailed(f"mongod: {error}{child.last_lines()}") from None
