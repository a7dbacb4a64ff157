"""Every task and thread of the real processes is killed once: the component goes on, or ends with an error."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from coatcheck.dev.ports import free_ports
from shared.settings.table import Settings
from tests.support.fakes.throwing import Running, Windows
from tests.support.ingress.server import ROOT, ask, until
from tests.support.servers.brokers import broker_under_test
from tests.support.servers.mongod import MongodSet

SECONDS = 60.0
LEASE_SECONDS = 3.0
SITE_PACKAGES = str(Path(httpx.__file__).parents[1])
WITHOUT_NAME = re.compile(r"(Task|Thread|Dummy)-\d+.*")
PASSING = {
    "admin-request": "answers one scrape",
    "request": "serves one request, its errors are answered",
    "job": "runs one job, its errors are recorded",
    "claim-batch": "one claim, its errors are raised in `claim` or `sweep`",
    "batches": "one row of batches, its errors are raised to those who wait",
    "upload": "stores one large body, its errors are answered",
    "key": "one look-up, its errors are answered",
    "settle": "ends when all have started",
}
"""Come and go with what they do."""
ENDS_ITS_PROCESS = {"main", "stop", "worker", "reaper", "server", "application", "MainThread"}
"""Without them there is nothing to go on with. Everything else is started again."""
LIBRARIES = {
    r"asyncio_\d+": "the standard library's pool: it hands every error to whoever waits",
    r"pymongo_.*": "the driver opens a monitor that has ended again when it next selects a server",
    r"kafka-io-.*": "the consumer is replaced",
    r"coatcheck-network-thread": "the producer goes on, and is replaced when it falls silent",
}


class Component:
    """`coatcheck edge`, `worker` or `reaper` as a process that can be looked into."""

    def __init__(self, folder: Path, environ: Mapping[str, str], *arguments: str) -> None:
        self.name = arguments[0]
        self._environ = environ
        self._log = folder / "log"
        self._folder = folder / "windows"
        self._folder.mkdir(parents=True)
        (self.admin,) = free_ports(1)
        self._arguments = [*arguments, "--admin-port", str(self.admin)]
        self.windows = Windows(self._folder)

    def start(self) -> None:
        with self._log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.fakes.throwing", str(self._folder), *self._arguments],
                env=dict(self._environ), cwd=ROOT, stderr=log,
            )  # fmt: skip
        until(self.is_ready, f"{self.name} is ready: {self.log()}", within=SECONDS)

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log()
        return ask(self.admin, "/readyz")[0] == 200

    def log(self) -> str:
        """The end of what it wrote."""
        return self._log.read_text()[-5000:] if self._log.exists() else ""

    def errors_seen(self) -> int:
        """How often it wrote of an error of ours."""
        return self._log.read_text().count("Thrown")

    def value(self, metric: str) -> float:
        """The sum of what a scrape shows of a metric; 0 while nobody answers."""
        lines = ask(self.admin, "/metrics")[1].splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(metric))

    def look(self) -> set[Running]:
        """What runs for longer than a moment."""
        return {each for each in self.windows.look() if each.name not in PASSING}

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class Installation:
    """An edge, a worker and a reaper."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        (self.port,) = free_ports(1)
        commands = [("edge", "--port", str(self.port)), ("worker", "--slots", "4"), ("reaper", "--interval", "0.2")]
        self.components = {command[0]: Component(folder / command[0], environ, *command) for command in commands}

    def complete_a_job(self, latency: int = 10) -> None:
        """Submit a job and poll until it is completed."""
        url = f"http://127.0.0.1:{self.port}/v1/async/embeddings"
        with httpx.Client(timeout=10) as client:
            body = {"model": f"scripted/latency={latency}", "input": "x"}
            job = until(lambda: _answer(client, "POST", url, body, 202), "a job is accepted", within=SECONDS)
            ended = until(lambda: _answer(client, "GET", f"{url}/{job['id']}", None, 200), "it ends", within=SECONDS)
        assert ended["status"] == "completed", ended

    def works(self, component: Component) -> None:
        """Fail unless the component does its work."""
        until(component.is_ready, f"{component.name} is ready", within=SECONDS)
        if component.name == "reaper":
            passes = component.value("coatcheck_reaper_runs_total")
            until(
                lambda: component.value("coatcheck_reaper_runs_total") > passes,
                f"the reaper counts on: {component.log()}",
                SECONDS,
            )
        elif component.name == "worker":
            heard = component.value("coatcheck_notifications_received_total")
            until(lambda: self._rings(component, heard), f"notifications are heard: {component.log()}", SECONDS)
        else:
            self.complete_a_job()

    def _rings(self, worker: Component, heard: float) -> bool:
        self.complete_a_job()
        return worker.value("coatcheck_notifications_received_total") > heard


def _answer(client: httpx.Client, method: str, url: str, body: object, status: int) -> dict[str, Any] | None:
    try:
        answer = client.request(method, url, json=body)
    except httpx.HTTPError:
        return None
    return answer.json() if answer.status_code == status else None


@pytest.fixture(scope="module")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with broker_under_test(tmp_path_factory.mktemp("broker")) as broker:
        yield broker.bootstrap


@pytest.fixture
def installation(mongod: MongodSet, settings: Settings, bootstrap: str, tmp_path: Path) -> Iterator[Installation]:
    config = tmp_path / "coatcheck.toml"
    config.write_text("[providers.scripted]\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COATCHECK_")}
    environ = kept | {
        "COATCHECK_CONFIG": str(config),
        "COATCHECK_MONGODB_URI": mongod.uri,
        "COATCHECK_MONGODB_DATABASE": settings.mongodb_database,
        "COATCHECK_KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "COATCHECK_KAFKA_TOPIC_PREFIX": settings.mongodb_database,
        "COATCHECK_ALLOW_ANONYMOUS": "true",
        "COATCHECK_LEASE_SECONDS": str(LEASE_SECONDS),
    }
    init = [sys.executable, "-m", "coatcheck", "init", "--wait", "30"]
    subprocess.run(init, env=environ, cwd=ROOT, check=True, capture_output=True, timeout=SECONDS)
    made = Installation(tmp_path, environ)
    try:
        for component in made.components.values():
            component.start()
        yield made
    finally:
        for component in made.components.values():
            component.stop()


@pytest.mark.parametrize("name", ["edge", "worker", "reaper"])
def test_whatever_task_or_thread_fails_the_component_goes_on_or_ends_with_an_error(
    installation: Installation, name: str
) -> None:
    component = installation.components[name]
    tried: set[tuple[bool, str, str]] = set()
    while left := [each for each in sorted(_listed(installation, component)) if _role(component, each) not in tried]:
        victim = left[0]
        assert _has_a_name(victim), f"an unnamed {victim.kind} from {victim.code or 'a thread'}: {victim.name}"
        tried.add(_role(component, victim))
        if _can_be_thrown_into(component, victim):
            print(f"an error is thrown into {victim}")
            _kill(installation, component, victim)
    assert len(tried) > 5


def _listed(installation: Installation, component: Component) -> set[Running]:
    """What runs after the status page was asked, which has a thread of its own."""
    until(component.is_ready, f"{component.name} is ready", within=SECONDS)
    until(lambda: ask(component.admin, "/status/facts")[0] == 200, "the status page", within=SECONDS)
    return component.look()


def _role(component: Component, each: Running) -> tuple[bool, str, str]:
    """What it is in any process of its kind: the name outlives the process."""
    return each.pid == component.process.pid, each.kind, each.name if _has_a_name(each) else each.code


def _has_a_name(each: Running) -> bool:
    """A library's task without a name is known by its file."""
    return not WITHOUT_NAME.fullmatch(each.name) or each.code.startswith(SITE_PACKAGES)


def _can_be_thrown_into(component: Component, each: Running) -> bool:
    """Not a pool of the standard library, not a library's passing task, not a thread whose event loop has the tasks."""
    runs_a_loop = each.name == "MainThread" and not (component.name == "edge" and each.pid == component.process.pid)
    return not (re.fullmatch(r"asyncio_\d+", each.name) or WITHOUT_NAME.fullmatch(each.name) or runs_a_loop)


def _kill(installation: Installation, component: Component, victim: Running) -> None:
    restarts = f'coatcheck_task_restarts_total{{task="{victim.name}"}}'
    role, before, errors = _role(component, victim), component.value(restarts), component.errors_seen()
    until(lambda: component.windows.throw(victim), f"an error is thrown into {victim}", within=SECONDS)

    def is_over() -> bool:
        if victim.name in ENDS_ITS_PROCESS:
            return component.process.poll() is not None or not Path(f"/proc/{victim.pid}").exists()
        if victim.kind == "thread":
            installation.complete_a_job()  # it gets the error when it next does something
        return component.value(restarts) > before or component.errors_seen() > errors

    if not _is_of_a_library(victim):
        until(is_over, f"{victim} is started again or ends its process: {component.log()}", within=SECONDS)
    if component.process.poll() is not None:
        assert component.process.returncode not in (0, None), f"{victim} ended its process as if all were well"
        component.start()
    installation.works(component)
    if not _is_of_a_library(victim):
        until(lambda: _runs(component, role), f"{victim.name} runs again", within=SECONDS)


def _is_of_a_library(each: Running) -> bool:
    return any(re.fullmatch(pattern, each.name) for pattern in LIBRARIES)


def _runs(component: Component, role: tuple[bool, str, str]) -> bool:
    return role in {_role(component, each) for each in component.look()}


def _grows(component: Component, metric: str, before: float) -> bool:
    return component.value(metric) > before


def test_leases_are_kept_though_their_renewal_fails_now_and_then(installation: Installation) -> None:
    worker = installation.components["worker"]
    (renewal,) = [each for each in worker.look() if each.name == "leases"]
    restarts = 'coatcheck_task_restarts_total{task="leases"}'
    for _ in range(3):
        before = worker.value(restarts)
        until(lambda: worker.windows.throw(renewal), "an error is thrown into the renewal")
        until(partial(_grows, worker, restarts, before), "it is started again")
        installation.complete_a_job(latency=int(LEASE_SECONDS * 1500))
    assert worker.value("coatcheck_provider_requests_total") == 3
    assert worker.value("coatcheck_leases_lost_total") == worker.value("coatcheck_job_crashes_total") == 0
