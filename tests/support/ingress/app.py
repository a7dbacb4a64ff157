"""A small application behind the real door: makes one "job" out of every body and writes it down as a line.

Run as a program it serves itself: `python -m tests.support.ingress.app PORT JOURNAL [KEY=VALUE ...]`. The journal
gets one line per event: `body <bytes>`, `job <bytes> <checksum>`, `refused <reason>`, `started`, `stopped`,
`exited <pid>`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import zlib
from pathlib import Path
from typing import Any

import falcon.asgi
import msgspec

from edge.ingress.cors import RefusalOrigins
from edge.ingress.guard import Guard
from edge.ingress.limits import ConnectionLimits, GuardLimits
from edge.ingress.rejection import RequestRejected
from edge.server.master import serve

BIG = 20 * 1024 * 1024


class Journal:
    """Lines that survive the death of any process: one write each, appended."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def spoilt(self) -> bool:
        """Whether a test wants no application to start from now on."""
        return self._path.with_suffix(".spoilt").exists()

    def write(self, line: str) -> None:
        with self._path.open("a") as file:
            file.write(line + "\n")


class Jobs:
    """Takes bodies as the real edge does: whole, by the framework's stream."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def on_post(self, req: Any, resp: Any) -> None:
        body = await req.stream.read()
        self._journal.write(f"body {len(body)}")
        if "wait" in req.params:
            await asyncio.sleep(float(req.params["wait"]))
        self._journal.write(f"job {len(body)} {zlib.crc32(body)}")
        resp.status = 202
        resp.media = {"n": len(body), "pid": os.getpid(), "headers": sorted(req.headers)}

    async def on_get(self, req: Any, resp: Any) -> None:
        resp.media = {"id": req.scope["state"]["request_id"], "pid": os.getpid()}


class Unlocked:
    """Refuses before it reads, as an application does that sees a wrong key."""

    async def on_post(self, req: Any, resp: Any) -> None:
        resp.status = 401
        resp.media = {"error": "no key"}


class Big:
    async def on_get(self, req: Any, resp: Any) -> None:
        resp.data = bytes(BIG)


class Broken:
    async def on_get(self, req: Any, resp: Any) -> None:
        raise KeyError("broken on purpose")


class Stop:
    """Tells the server who may read its refusals, and notes that the application's own shutdown ran."""

    def __init__(self, journal: Journal, startup_seconds: float, origins: RefusalOrigins) -> None:
        self._journal = journal
        self._startup_seconds = startup_seconds
        self._origins = origins

    async def process_startup(self, scope: Any, event: Any) -> None:
        if self._journal.spoilt:
            raise RuntimeError("cannot start")
        self._origins.publish(scope)
        await asyncio.sleep(self._startup_seconds)
        self._journal.write("started")

    async def process_shutdown(self, scope: Any, event: Any) -> None:
        self._journal.write("stopped")


async def reraise(req: Any, resp: Any, error: Exception, params: Any) -> None:
    raise error


def make_app(
    journal: Journal, limits: GuardLimits, startup_seconds: float, reraises: bool, origins: RefusalOrigins
) -> Guard:
    app = falcon.asgi.App(middleware=[Stop(journal, startup_seconds, origins)])
    app.add_route("/jobs", Jobs(journal))
    app.add_route("/unlocked", Unlocked())
    app.add_route("/big", Big())
    app.add_route("/broken", Broken())
    if reraises:
        app.add_error_handler(RequestRejected, reraise)
        app.add_error_handler(KeyError, reraise)
    return Guard(app, limits, lambda reason: journal.write(f"refused {reason}"), origins)  # type: ignore[arg-type]


def chosen(kind: type[Any], given: dict[str, str]) -> Any:
    names = {field.name for field in msgspec.structs.fields(kind)}
    return msgspec.convert({name: value for name, value in given.items() if name in names}, kind, strict=False)


def main(port: str, journal_path: str, *settings: str) -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
    given = dict(setting.split("=") for setting in settings)
    journal = Journal(Path(journal_path))
    limits = chosen(GuardLimits, given)
    startup_seconds = float(given.get("startup_seconds", "0"))
    origins = RefusalOrigins([given["origin"]] if "origin" in given else [])
    serve(
        lambda: make_app(journal, limits, startup_seconds, given.get("reraises", "1") == "1", origins),
        host="127.0.0.1",
        port=int(port),
        processes=int(given.get("processes", "1")),
        graceful_timeout=float(given.get("graceful_timeout", "5")),
        startup_timeout=float(given.get("startup_timeout", "10")),
        limits=chosen(ConnectionLimits, given),
        on_refuse=lambda reason: journal.write(f"refused {reason}"),
        on_ready=lambda: journal.write("ready"),
        on_process_exit=lambda pid: journal.write(f"exited {pid}"),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
