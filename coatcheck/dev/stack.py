"""`coatcheck dev`: the real parts on loopback, nothing mocked, from the first check to the last stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence

from coatcheck.dev.broker import Broker
from coatcheck.dev.checks import MIB, disk_problem, port_problem, system_problem
from coatcheck.dev.child import Child, ChildFailed, ProgramMissing
from coatcheck.dev.component import COMMAND, INIT_SECONDS, Component, run_to_the_end
from coatcheck.dev.loopback import ProofFailed, prove
from coatcheck.dev.mongod import Mongod
from coatcheck.dev.options import BadOption, DevOptions, chosen_models
from coatcheck.dev.ports import LOOPBACK, free_ports
from coatcheck.dev.screen import say, say_ready
from coatcheck.dev.sole_run import AlreadyRunning, sole_run
from coatcheck.dev.supervisor import Part, Supervisor

DATA_BYTES = 300 * MIB
PROOF_SECONDS = 60.0
INSIST_SECONDS = 0.5
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


async def run(options: DevOptions, command: Sequence[str] = COMMAND) -> int:
    """Run the stack until Ctrl-C, SIGTERM or the death of a part. Must be called in the main thread.

    `command` is what starts a component. Exit code: 0 it was asked to stop, 1 something failed and why is on stderr,
    2 the options cannot be followed.
    """
    try:
        models = chosen_models(options.models)
        async with sole_run(options.data, f"http://{LOOPBACK}:{options.port}") as held:
            _check(options)
            return await Stack(options, models, held, command).run()
    except BadOption as bad:
        sys.stderr.write(f"{bad}\n")
        return 2
    except (AlreadyRunning, ProgramMissing, NotPossible, OSError) as problem:
        sys.stderr.write(f"{problem}\n")
        return 1


class NotPossible(Exception):
    """Something outside is in the way; the message says what and the way out."""


def _check(options: DevOptions) -> None:
    other = f"make run PORT={options.port + 1} ADMIN_PORT={options.admin_port + 1}"
    for problem in (
        system_problem(),
        disk_problem(options.data, DATA_BYTES, "the stack"),
        port_problem(LOOPBACK, options.port, other),
        port_problem(LOOPBACK, options.admin_port, other),
    ):
        if problem:
            raise NotPossible(problem)


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
        self._stop_asked_at: float | None = None

    async def run(self) -> int:
        """Exit code 0 or 1."""
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._on_signal)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as it is under nohup
            loop.add_signal_handler(signal.SIGHUP, self._on_signal)
        try:
            await self._until_over()
        except (ChildFailed, ProofFailed) as failed:
            sys.stderr.write(f"{failed}\nstopping the rest\n")
            return 1
        finally:
            await self._supervisor.stop()
        return 0

    def _on_signal(self) -> None:
        """The first one asks; one that comes later, and not together with it as `timeout` sends them, insists."""
        now = asyncio.get_running_loop().time()
        if self._stop_asked_at is None:
            self._stop_asked_at = now
            self._stop_asked.set()
            sys.stderr.write("\n")
        elif now - self._stop_asked_at > INSIST_SECONDS:
            self._supervisor.kill()

    async def _until_over(self) -> None:
        """Return when a stop is asked for; raise what goes wrong before."""
        stop_asked = asyncio.create_task(self._stop_asked.wait())
        work = [asyncio.create_task(self._bring_up()), asyncio.create_task(self._supervisor.watch())]
        try:
            pending = {stop_asked, *work}
            while True:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                if stop_asked in done:  # what dies from here on was told to
                    return
                for task in done:
                    task.result()
        finally:
            for task in (stop_asked, *work):
                task.cancel()
            await asyncio.gather(stop_asked, *work, return_exceptions=True)

    async def _bring_up(self) -> None:
        environ = await self._start_servers()
        await self._init(environ)
        await self._start_components(environ)
        await self._prove()
        say_ready(self._options, self._models)

    async def _prove(self) -> None:
        if "minilm" not in self._models:
            say("test job", "none: there is no local model to ask")
            return
        seconds = await asyncio.to_thread(prove, self._options.port, PROOF_SECONDS)
        say("test job", f"local/minilm loaded, embedding collected  {seconds:.1f} s")

    async def _start_servers(self) -> dict[str, str]:
        """Start what is not the user's own; the settings that the components need to find them."""
        options, parts = self._options, list[Part]()
        uri, bootstrap = options.mongodb_uri, options.kafka
        suited: Mapping[str, str] = {}
        if not uri:
            mongod = Mongod(options.data / "mongod", self._logs / "mongod.log", held=self._held)
            uri = mongod.uri
            parts.append(mongod)
        if not bootstrap:
            broker = Broker(self._logs / "broker.log", held=self._held)
            bootstrap, suited = broker.bootstrap, broker.settings
            parts.insert(0, broker)  # stops before mongod
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
            await asyncio.to_thread(run_to_the_end, child, INIT_SECONDS)
        finally:
            child.kill()
        say("init", "indexes, topics ok")

    async def _start_components(self, environ: dict[str, str]) -> None:
        options = self._options
        worker_admin, keeper_admin = free_ports(2)
        where = ["--host", LOOPBACK, "--port", str(options.port), "--admin-port", str(options.admin_port)]

        def component(arguments: Sequence[str], ready_port: int, stop_seconds: float) -> Component:
            return Component(
                arguments,
                ready_port=ready_port,
                stop_seconds=stop_seconds,
                logs=self._logs,
                environ=environ,
                held=self._held,
                command=self._command,
            )

        await self._supervisor.start(
            component(["edge", *where], options.port, 35.0),
            component(["worker", "--modality", "all", "--admin-port", str(worker_admin)], worker_admin, 40.0),
            component(["keeper", "--admin-port", str(keeper_admin)], keeper_admin, 15.0),
        )
