"""`coatcheck dev`: the real parts on loopback, nothing mocked, from the first check to the last stop."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from coatcheck.dev import component, settings_file
from coatcheck.dev.broker import Broker
from coatcheck.dev.checks import MIB, disk_problem, port_problem, system_problem
from coatcheck.dev.child import Child, ChildFailed, ProgramMissing
from coatcheck.dev.mongod import Mongod
from coatcheck.dev.parent_death_watch import is_alive
from coatcheck.dev.ports import LOOPBACK, free_ports
from coatcheck.dev.supervisor import Part, Supervisor
from shared.providers.local_models import EXTRAS, LOCAL_MODELS, installed_models, missing_packages

DATA_BYTES = 300 * MIB
PROOF_SECONDS = 60.0
INSIST_SECONDS = 0.5
LEFTOVER_SECONDS = 45.0  # for the children of a killed run: longer than each of them is given in an orderly stop


class BadOption(Exception):
    """An option cannot be followed; the message says what is possible or what to install."""


class NotPossible(Exception):
    """Something outside is in the way; the message says what and the way out."""


@dataclass(frozen=True)
class DevOptions:
    """`mongodb_uri` and `kafka` (host:port list) replace the embedded servers; `models` is as in `make run MODELS=`."""

    data: Path = Path(".coatcheck")
    port: int = 8080
    admin_port: int = 9090
    mongodb_uri: str = field(default="", repr=False)  # may hold a password
    kafka: str = ""
    models: str = ""


async def run(options: DevOptions, command: Sequence[str] = component.COMMAND) -> int:
    """Run the stack until Ctrl-C, SIGTERM or the death of a part, in the main thread; `command` starts a component.
    Exit code: 0 it was asked to stop, 1 something failed and why is on stderr, 2 the options cannot be followed."""
    try:
        models = chosen_models(options.models)
        options.data.mkdir(parents=True, exist_ok=True)
        async with _single_instance(options) as held:
            if problem := _problem(options):
                raise NotPossible(problem)
            return await Stack(options, models, held, command).run()
    except (BadOption, ProgramMissing, NotPossible, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, BadOption) else 1


def chosen_models(text: str) -> tuple[str, ...]:
    """The ids of the local models to serve: the default ones and the named extras; `all`; `none`. Raises BadOption."""
    names = {name.strip() for name in text.split(",") if name.strip()}
    if names == {"none"}:
        return ()
    if names == {"all"}:
        names = set(EXTRAS)
    if unknown := sorted(names - set(EXTRAS)):
        raise BadOption(f"models '{text}': '{unknown[0]}' is not one of {', '.join(EXTRAS)}, all, none")
    for model in LOCAL_MODELS:
        if model.extra in names and (missing := missing_packages(model)):
            raise BadOption(f"local/{model.id} is not installed ({', '.join(missing)}): {model.install_command}")
    return tuple(model.id for model in installed_models() if not model.extra or model.extra in names)


@contextlib.asynccontextmanager
async def _single_instance(options: DevOptions) -> AsyncIterator[int]:
    """Hold the data directory while the block runs; yields a file descriptor that children must keep open: after a
    kill -9 of this process the lock ends with the last of them."""
    with (options.data / "lock").open("a+") as file:
        give_up, said = time.monotonic() + LEFTOVER_SECONDS, False
        while not _locked(file.fileno(), options.data):
            if time.monotonic() > give_up:
                raise NotPossible(
                    f"processes of an earlier run still use {options.data}: `fuser {file.name}` names them"
                )
            if not said:
                sys.stderr.write("waiting for the processes of a killed run to stop\n")
                said = True
            await asyncio.sleep(0.1)
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "url": f"http://{LOOPBACK}:{options.port}"}))
        file.flush()
        yield file.fileno()


def _locked(descriptor: int, data: Path) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    try:
        holder = json.loads((data / "lock").read_text())
    except ValueError:  # it holds the lock and has not written its process id yet
        return False
    if is_alive(holder["pid"]):
        raise NotPossible(
            f"Coatcheck already runs on {data}: {holder['url']}, process {holder['pid']}. Stop it with Ctrl-C there, "
            f"or start a second one with `make run DATA=.coatcheck2 PORT=8081 ADMIN_PORT=9091`"
        )
    return False


def _problem(options: DevOptions) -> str | None:
    other = f"make run PORT={options.port + 1} ADMIN_PORT={options.admin_port + 1}"
    taken = port_problem(LOOPBACK, options.port, other) or port_problem(LOOPBACK, options.admin_port, other)
    return system_problem() or disk_problem(options.data, DATA_BYTES, "the stack") or taken


def say(name: str, text: str) -> None:
    sys.stderr.write(f"{name:<10} {text}\n")
    sys.stderr.flush()


class Stack:
    """One run: brings the parts up in stages, proves that they work together, waits, takes them down."""

    def __init__(self, options: DevOptions, models: tuple[str, ...], held: int, command: Sequence[str]) -> None:
        self._options = options
        self._models = models
        self._held = (held,)
        self._command = command
        self._logs = options.data / "logs"
        self._supervisor = Supervisor(say)
        self._stop_asked = asyncio.Event()
        self._stop_asked_at = 0.0

    async def run(self) -> int:
        signals = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as it is under nohup
            signals.append(signal.SIGHUP)
        for number in signals:
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal)
        settings = self._options.data / settings_file.NAME
        settings.unlink(missing_ok=True)
        try:
            await self._until_over()
        except (ChildFailed, component.ProofFailed) as failed:
            sys.stderr.write(f"{failed}\nstopping the rest\n")
            return 1
        finally:
            settings.unlink(missing_ok=True)
            await self._supervisor.stop()
        return 0

    def _on_signal(self) -> None:
        """The first one asks; one that comes later, and not together with it as `timeout` sends them, insists."""
        now = asyncio.get_running_loop().time()
        if not self._stop_asked.is_set():
            self._stop_asked_at = now
            self._stop_asked.set()
            sys.stderr.write("\n")
        elif now - self._stop_asked_at > INSIST_SECONDS:
            self._supervisor.kill()

    async def _until_over(self) -> None:
        stop_asked = asyncio.create_task(self._stop_asked.wait())
        tasks = {stop_asked, asyncio.create_task(self._bring_up()), asyncio.create_task(self._supervisor.watch())}
        pending = tasks
        try:
            while True:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                if stop_asked in done:  # processes that end from here on were asked to stop
                    return
                for task in done:
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _bring_up(self) -> None:
        options = self._options
        environ = await self._start_servers()
        settings_file.write(options.data, environ, options.port, options.admin_port)
        await self._init(environ)
        await self._start_components(environ)
        if "minilm" in self._models:
            seconds = await asyncio.to_thread(component.smoke_test, options.port, PROOF_SECONDS)
            say("test job", f"local/minilm loaded, embedding collected  {seconds:.1f} s")
        else:
            say("test job", "none: there is no local model to ask")
        self._say_ready()

    async def _start_servers(self) -> dict[str, str]:
        """Start what is not the user's own; the settings that the components need to find them."""
        options, parts = self._options, list[Part]()
        uri, bootstrap = options.mongodb_uri, options.kafka
        suited: Mapping[str, str] = {}
        if not bootstrap:
            broker = Broker(self._logs / "broker.log", held=self._held)
            bootstrap, suited = broker.bootstrap, broker.settings
            parts.append(broker)
        if not uri:
            mongod = Mongod(options.data / "mongod", self._logs / "mongod.log", held=self._held)
            uri = mongod.uri
            parts.append(mongod)  # stops after the broker
        await self._supervisor.start(*parts)
        return {
            **suited,
            **os.environ,
            "COATCHECK_MONGODB_URI": uri,
            "COATCHECK_KAFKA_BOOTSTRAP_SERVERS": bootstrap,
            "COATCHECK_ALLOW_ANONYMOUS": "true",
            "COATCHECK_LOCAL_MODELS": ",".join(self._models),
            "COATCHECK_LOG_FORMAT": os.environ.get("COATCHECK_LOG_FORMAT", "text"),
        }

    async def _init(self, environ: dict[str, str]) -> None:
        child = Child("init", [*self._command, "init"], log=self._logs / "init.log", environ=environ, held=self._held)
        try:
            await asyncio.to_thread(component.run_to_the_end, child, component.INIT_SECONDS)
        finally:
            child.kill()
        say("init", "indexes, topics ok")

    async def _start_components(self, environ: dict[str, str]) -> None:
        port, admin = self._options.port, str(self._options.admin_port)
        worker, reaper = free_ports(2)
        started = partial(component.Component, logs=self._logs, environ=environ, held=self._held, command=self._command)
        edge = ["edge", "--host", LOOPBACK, "--port", str(port), "--admin-port", admin]
        await self._supervisor.start(
            started(edge, ready_port=port, stop_seconds=35.0),
            started(["worker", "--modality", "all", "--admin-port", str(worker)], ready_port=worker, stop_seconds=40.0),
            started(["reaper", "--admin-port", str(reaper)], ready_port=reaper, stop_seconds=15.0),
        )

    def _say_ready(self) -> None:
        options, url = self._options, f"http://{LOOPBACK}:{self._options.port}"
        example = f"curl -i {url}{component.EMBEDDINGS} -d '{json.dumps(component.EXAMPLE, separators=(',', ':'))}'"
        if "minilm" not in self._models:
            example = f"curl {url}/v1/models"
        where = f"docs /docs, status :{options.admin_port}, data {options.data}, logs {self._logs}"
        lines = [f"Ready  {url}  ({where})  Ctrl-C stops", "", f"  {example}", ""]
        embedded = [] if options.mongodb_uri else ["mongod (SSPL, downloaded as a package)"]
        embedded += [] if options.kafka else ["the in-memory broker"]
        if embedded:
            lines.append(f"For development: {' and '.join(embedded)}. MONGODB_URI=... KAFKA=... use yours.")
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
