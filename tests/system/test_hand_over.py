"""SIGHUP: an edge hands over to new server processes without a gap; a worker and a reaper finish and stop."""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.ingress.edge import EdgeProcess
from tests.support.ingress.server import SHORT, IngressServer, ask, post, until
from tests.support.servers.mongod import MongodSet
from tests.system.test_commands import running, wait_until_ready

START_SECONDS = 2.0
LONGEST_SECONDS = 1.0
"""Far below the time that a server process takes to start."""


class Clients:
    """Four clients without pause or mercy: two on connections that they keep, two on a new one for each request."""

    def __init__(self, port: int, path: str, body: str) -> None:
        self._port, self._path, self._body = port, path, body
        self.answered = 0
        self.failures: list[str] = []
        self.longest = 0.0
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(keeps,)) for keeps in (True, True, False, False)]

    @contextmanager
    def running(self) -> Iterator[Clients]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join()

    def goes_on(self) -> None:
        """Wait until some more requests were answered."""
        enough = self.answered + 40
        until(lambda: self.answered >= enough or self.failures, "requests are answered")

    def _run(self, keeps: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        while not self._over.is_set():
            began = time.monotonic()
            try:
                connection.request("POST", self._path, self._body, {"content-type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                if answer.status != 202:
                    self.failures.append(f"status {answer.status}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
            self.answered += 1
            self.longest = max(self.longest, time.monotonic() - began)
            if not keeps:
                connection.close()
        connection.close()


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def pids(door: IngressServer) -> set[int]:
    return {int(door.post().json["pid"]) for _ in range(40)}


@pytest.mark.parametrize("processes", [1, 2])
def test_a_hand_over_breaks_no_connection_and_leaves_no_gap(tmp_path: Path, processes: int) -> None:
    settings = SHORT | {"startup_seconds": START_SECONDS, "processes": processes, "graceful_timeout": 20}
    with IngressServer(tmp_path, **settings) as door, door.raw() as busy:
        old = pids(door)
        busy.send(post(b"busy", target="/jobs?wait=4"))
        with Clients(door.port, "/jobs", "x").running() as clients:
            clients.goes_on()
            door.process.send_signal(signal.SIGHUP)
            until(lambda: pids(door).isdisjoint(old), "new processes answer", within=30)
            clients.goes_on()
        assert busy.answer().status == 202
        until(lambda: all(gone(pid) for pid in old), "the old processes leave", within=30)
        assert clients.failures == []
        assert clients.longest < LONGEST_SECONDS
        assert door.stop() == 0


def test_a_connection_that_is_kept_open_may_bring_one_more_request_and_is_then_told_to_close(tmp_path: Path) -> None:
    with IngressServer(tmp_path, **(SHORT | {"stop_grace": 5, "keepalive": 60})) as door, door.raw() as kept:
        kept.send(post(b"first"))
        first = kept.answer()
        assert "connection" not in first.headers
        door.process.send_signal(signal.SIGHUP)
        until(lambda: first.json["pid"] not in pids(door), "only a new process answers")
        kept.send(post(b"second"))
        second = kept.answer()
        assert (second.status, second.json["pid"]) == (202, first.json["pid"])
        assert second.headers["connection"] == "close"
        assert kept.ended()
        assert door.stop() == 0


def test_new_processes_that_do_not_start_leave_the_old_ones_in_office(tmp_path: Path) -> None:
    with IngressServer(tmp_path, **SHORT, processes=2) as door:
        until(lambda: len(pids(door)) == 2, "both processes answer")
        old = pids(door) | pids(door) | pids(door)
        door.spoil()
        door.process.send_signal(signal.SIGHUP)
        until(lambda: "the old ones go on" in door.log(), "the hand-over is given up")
        assert pids(door) <= old
        door.spoil(spoilt=False)
        door.process.send_signal(signal.SIGHUP)
        until(lambda: pids(door).isdisjoint(old), "the next hand-over works")
        assert door.stop() == 0


def test_a_terminal_that_closes_breaks_no_request(tmp_path: Path) -> None:
    """It sends SIGHUP to the server processes too."""
    with IngressServer(tmp_path, **SHORT) as door, door.raw() as busy:
        busy.send(post(b"busy", target="/jobs?wait=1"))
        until(lambda: "body 4" in door.lines(), "request under way")
        server = int(door.post().json["pid"])
        os.kill(server, signal.SIGHUP)
        door.process.send_signal(signal.SIGHUP)
        assert busy.answer().status == 202
        until(lambda: door.post().json["pid"] != server, "a new process answers")
        assert door.stop() == 0


def test_an_edge_takes_every_submit_while_it_hands_over(mongod: MongodSet, tmp_path: Path) -> None:
    with EdgeProcess(tmp_path, mongod.uri) as edge:
        body = '{"model": "openai/m", "input": "x"}'
        with Clients(edge.port, "/v1/async/embeddings", body).running() as clients:
            clients.goes_on()
            old = edge.server_pid
            edge.process.send_signal(signal.SIGHUP)
            until(lambda: gone(old), "the old process leaves: " + edge.log(), within=60)
            clients.goes_on()
        assert clients.failures == []
        assert clients.longest < LONGEST_SECONDS
        assert edge.stop() == 0


@pytest.mark.parametrize("latency", [2000, 60_000], ids=["short", "long"])
def test_a_worker_on_sighup_finishes_short_jobs_gives_long_ones_back_and_ends(
    mongod: MongodSet, tmp_path: Path, latency: int
) -> None:
    settings: dict[str, Any] = {"drain_seconds": 5, "lease_seconds": 60, "local_models": ""}
    with EdgeProcess(tmp_path, mongod.uri, "[providers.scripted]\n", **settings) as edge:
        with running(edge.environ, "worker") as (worker, admin):
            wait_until_ready(admin)
            url = f"http://127.0.0.1:{edge.port}/v1/async/embeddings"
            job = httpx.post(url, json={"model": f"scripted/latency={latency}", "input": "x"}).json()["id"]
            until(lambda: "coatcheck_slots_busy 1.0" in ask(admin, "/metrics")[1], "the job runs", within=60)
            for _ in range(2):  # the shell's and the kernel's, when a terminal closes
                worker.send_signal(signal.SIGHUP)
            assert worker.wait(60) == 0
        answer = httpx.get(f"{url}/{job}")
        if latency > 5000:
            assert (answer.status_code, answer.json()["status"]) == (202, "pending")
        else:
            assert (answer.status_code, answer.json()["status"]) == (200, "completed")


def test_a_reaper_ends_in_order_on_sighup(mongod: MongodSet, tmp_path: Path) -> None:
    with EdgeProcess(tmp_path, mongod.uri) as edge, running(edge.environ, "reaper") as (reaper, admin):
        wait_until_ready(admin)
        reaper.send_signal(signal.SIGHUP)
        assert reaper.wait(60) == 0
