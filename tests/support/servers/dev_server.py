"""`coatcheck dev` as a process, for tests of what a user runs against it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from coatcheck.dev.ports import free_ports

START_SECONDS = 120
STOP_SECONDS = 60


@dataclass(frozen=True)
class DevServer:
    """A running stack whose scripted provider answers `scripted/...` models."""

    url: str
    admin_url: str
    mongodb_uri: str
    said: tuple[str, ...]
    """The lines it printed while it started, the last one with its address."""

    @property
    def environ(self) -> dict[str, str]:
        """The environment of a client of this server."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("COATCHECK_")}
        return kept | {"COATCHECK_URL": self.url}

    def accepted(self, request_type: str) -> int:
        """Jobs of this type that the edge has ever accepted."""
        with urllib.request.urlopen(f"{self.admin_url}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        counts = re.findall(
            rf'^coatcheck_jobs_accepted_total{{request_type="{request_type}"}} (\S+)', text, re.MULTILINE
        )
        return int(sum(map(float, counts)))


@contextmanager
def dev_server(directory: Path, models: str = "") -> Iterator[DevServer]:
    """Start the stack of `make run MODELS=...` in a directory and stop it with Ctrl-C, which must end it with 0."""
    config = directory / "coatcheck.toml"
    config.write_text("[providers.scripted]\n")
    port, admin_port = free_ports(2)
    environ = {**os.environ, "COATCHECK_CONFIG": str(config)}
    process = subprocess.Popen(
        [sys.executable, "-m", "coatcheck", "dev", "--port", str(port), "--admin-port", str(admin_port),
         "--data", str(directory / "data"), "--models", models],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ,
    )  # fmt: skip
    assert process.stdout is not None
    limit = threading.Timer(START_SECONDS, process.kill)
    limit.start()
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("Ready"):
            break
    limit.cancel()
    assert said[-1].startswith("Ready"), "".join(said)
    try:
        mongod = (directory / "data" / "mongod" / "port").read_text()
        uri = f"mongodb://127.0.0.1:{mongod}/?directConnection=true"
        yield DevServer(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin_port}", uri, tuple(said))
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=STOP_SECONDS)
    assert process.returncode == 0, rest
