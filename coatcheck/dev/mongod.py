"""mongod as a child: found on PATH or in the wheel, one node, made a replica set, its data kept over restarts."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from coatcheck.dev.child import Child, ChildFailed, packaged
from coatcheck.dev.ports import LOOPBACK, free_ports, is_free
from shared.domain.errors import StoreUnavailable
from shared.mongo.connection.replica_set import SET_NAME, initiate_single_node, mongod_answers, wait_primary

PORTS = range(27018, 27118)  # outside the ports that systems use for outgoing connections
READY_SECONDS = 90.0  # long enough for the recovery after a kill -9 on a slow disk
_MISSING = "no mongod on PATH or among the packages: run `make run`, or use yours with MONGODB_URI=..."


def find_mongod() -> Path:
    """The mongod to run. Raises ProgramMissing."""
    return Path(shutil.which("mongod") or packaged("fiftyone", "db", "bin", "mongod", missing=_MISSING))


def mongod_command(binary: Path, data: Path, port: int, *, parameters: Sequence[str] = ()) -> list[str]:
    """The command line of one loopback-only member with small files. `parameters` are name=value server parameters."""
    command = [str(binary), "--replSet", SET_NAME, "--dbpath", str(data), "--bind_ip", LOOPBACK, "--port", str(port)]
    command += ["--quiet", "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "256"]
    command += ["--wiredTigerEngineConfigString", "log=(file_max=16MB,prealloc=false)"]
    command += ["--wiredTigerCollectionBlockCompressor", "none"]  # vectors, sound and pictures hardly shrink
    # By default a stopping primary waits up to 15 s for another one. Diagnostic data costs disk and CPU.
    ours = ("shutdownTimeoutMillisForSignaledShutdown=100", "diagnosticDataCollectionEnabled=false")
    return command + [word for parameter in (*ours, *parameters) for word in ("--setParameter", parameter)]


def journal_options(data: Path) -> list[str]:
    """Vectors hardly shrink in the journal either, but one that was begun compressed has to stay so, or a mongod cannot
    read it after a kill -9."""
    note = data / "journal"
    if not (data / "db" / "WiredTiger").is_file():
        note.write_text("none")
    return ["--wiredTigerJournalCompressor", "none"] if note.is_file() else []


def remembered_port(data: Path) -> int:
    """The port of the last run, as it is written in the replica set's own configuration; another if it is taken."""
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
        binary, files = find_mongod(), data / "db"
        files.mkdir(parents=True, exist_ok=True)
        self.port = remembered_port(data)
        self.uri = f"mongodb://{LOOPBACK}:{self.port}/?replicaSet={SET_NAME}"
        self._command = [*mongod_command(binary, files, self.port), *journal_options(data)]
        self._log = log
        self._held = held

    def start(self) -> Child:
        return Child(self.name, self._command, log=self._log, held=self._held)

    def wait_ready(self, child: Child) -> None:
        child.wait_ready(lambda: mongod_answers(f"{LOOPBACK}:{self.port}"), READY_SECONDS)
        try:
            initiate_single_node(self.uri)
            wait_primary(self.uri, READY_SECONDS)
        except (StoreUnavailable, TimeoutError) as error:
            raise ChildFailed(f"mongod: {error}{child.last_lines()}") from None
