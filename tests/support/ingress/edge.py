"""The real `coatcheck edge` as a process on a real database, with no broker: what raw sockets are tried against."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from uuid import UUID, uuid4

from coatcheck.dev.ports import free_ports
from shared.domain.job import Finish, Status
from shared.mongo.connection.client import Database, connect
from shared.mongo.keys import KeyStore
from shared.mongo.mongo_store import MongoStore
from shared.mongo.setup import ensure_indexes
from shared.settings.reading import load_settings
from shared.settings.table import Settings
from tests.support.ingress.server import ROOT, ServerProcess, ask, until

T = TypeVar("T")

START_SECONDS = 60.0
PROVIDERS = '[providers.openai]\nbase_url = "http://127.0.0.1:1/v1"\n'
ADMIN = re.compile(r"metrics and health of .* on http://127\.0\.0\.1:(\d+)")
SHORT: dict[str, Any] = {"max_request_bytes": 1_000_000, "body_timeout_seconds": 1, "header_timeout_seconds": 1}
"""Settings whose bounds a test can wait for."""


class EdgeProcess(ServerProcess):
    """`coatcheck edge` with these settings, from its start to its end. Everything it writes is below `folder`.

    `providers` is the settings file, `more` are variables beside ours; `environ` is what every other component of this
    installation needs to run.
    """

    STOP_SECONDS = 60.0

    def __init__(
        self,
        folder: Path,
        mongodb_uri: str,
        providers: str = PROVIDERS,
        more: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        self._stderr = folder / "edge.log"
        config = folder / "coatcheck.toml"
        config.write_text(providers)
        self.port, no_broker = free_ports(2)
        values = {
            "config": config,
            "mongodb_uri": mongodb_uri,
            "mongodb_database": f"door_{os.getpid()}_{self.port}",
            "kafka_bootstrap_servers": f"127.0.0.1:{no_broker}",
            "allow_anonymous": "true",
            **settings,
        }
        given = {f"COATCHECK_{name.upper()}": str(value) for name, value in values.items()}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("COATCHECK_")}
        self.environ = kept | given | dict(more or {})
        self.settings: Settings = load_settings({}, environ=given)
        asyncio.run(self.in_database(ensure_indexes))
        with self._stderr.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "coatcheck", "edge", "--port", str(self.port), "--admin-port", "0"],
                env=self.environ, cwd=ROOT, stderr=log,
            )  # fmt: skip

    def __enter__(self) -> EdgeProcess:
        until(lambda: self.process.poll() is not None or self._ready(), "edge ready", within=START_SECONDS)
        assert self.process.poll() is None, self.log()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        asyncio.run(self.in_database(_drop))

    # What it says about itself
    def log(self) -> str:
        return self._stderr.read_text()

    def complaints(self) -> list[str]:
        """Log lines at error level or above, and whatever is no log line at all."""
        lines = [(line, _parsed(line)) for line in self.log().splitlines()]
        return [line for line, said in lines if said is None or said["level"] in ("error", "critical")]

    def metric(self, name: str) -> float:
        """The sum of a metric's samples whose line begins with `name`; 0 if there is none."""
        _, text = ask(self.admin_port, "/metrics")
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))

    @property
    def admin_port(self) -> int:
        """Where metrics are."""
        found = ADMIN.search(self.log())
        assert found, self.log()
        return int(found[1])

    @property
    def server_pid(self) -> int:
        """The one server process below the master."""
        (pid,) = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(pid)

    def descriptors(self) -> int:
        """Open files of the server process."""
        return len(list(Path(f"/proc/{self.server_pid}/fd").iterdir()))

    def memory(self) -> int:
        """Bytes of memory that the server process holds."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.server_pid}/status").read_text())
        assert found
        return int(found[1]) * 1024

    def cpu_seconds(self) -> float:
        """CPU time that the server process has used so far."""
        fields = Path(f"/proc/{self.server_pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _ready(self) -> bool:
        return ADMIN.search(self.log()) is not None and ask(self.port, "/readyz")[0] == 200

    # Behind its back
    def jobs(self) -> int:
        """Jobs stored so far."""
        return asyncio.run(self.in_database(lambda database: database.jobs.count_documents({})))

    def new_key(self, models: tuple[str, ...] = ()) -> str:
        """The secret of a new virtual key."""
        _, secret = asyncio.run(
            self.in_database(lambda database: KeyStore(database).create(f"key {uuid4().hex}", models))
        )
        return secret

    def end(self, job_id: str, body: bytes) -> None:
        """Complete a job with this result, as a worker does."""
        asyncio.run(self.in_database(lambda database: _end(MongoStore(database, self.settings), UUID(job_id), body)))

    async def in_database(self, what: Callable[[Database], Awaitable[T]]) -> T:
        """Do something with the database as an operator."""
        async with connect(self.settings, role="operator", wait=30) as database:
            return await what(database)


async def _end(store: MongoStore, job_id: UUID, body: bytes) -> None:
    (held,) = await store.claim([job_id], lease=uuid4(), worker="test", suspects=False)
    finish = Finish(job_id, held.lease, Status.COMPLETED, 200, body, held.result_ttl)
    assert await store.record([finish]) == [True]


async def _drop(database: Database) -> None:
    await database.client.drop_database(database.raw.name)


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        said: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return said
