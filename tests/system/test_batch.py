"""`coatcheck batch` as a process, against a whole server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers.dev_server import DevServer, dev_server

LINES = 300
SECONDS = 120


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    with dev_server(tmp_path_factory.mktemp("dev")) as running:
        yield running


class Shell:
    """The command in a folder of its own."""

    def __init__(self, server: DevServer, folder: Path) -> None:
        self._server = server
        self.folder = folder

    def write(self, models: list[str]) -> None:
        with (self.folder / "in.jsonl").open("w") as file:
            for number, model in enumerate(models):
                body = {"model": model, "input": f"text {number}"}
                request = {"custom_id": f"id-{number}", "method": "POST", "url": "/v1/embeddings", "body": body}
                file.write(json.dumps(request) + "\n")

    def start(self, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "coatcheck", "batch", "in.jsonl", "-o", "out.jsonl", *options]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self._server.environ,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *options: str) -> tuple[int, str]:
        process = self.start(*options)
        _, errors = process.communicate(timeout=SECONDS)
        return process.returncode, errors

    def lines(self, name: str) -> list[dict[str, Any]]:
        path = self.folder / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def wait_for_lines(self, count: int) -> None:
        """Until so many whole lines are written."""
        path = self.folder / "out.jsonl"
        deadline = time.monotonic() + SECONDS
        while not path.exists() or path.read_bytes().count(b"\n") < count:
            assert time.monotonic() < deadline, f"fewer than {count} lines in {SECONDS} s"
            time.sleep(0.01)


@pytest.fixture
def shell(server: DevServer, tmp_path: Path) -> Shell:
    return Shell(server, tmp_path)


def test_a_batch_that_is_killed_and_interrupted_is_one_job_and_one_result_a_line(
    shell: Shell, server: DevServer
) -> None:
    shell.write(["scripted/latency=50,jitter=200"] * LINES)
    before = server.accepted("embedding")

    killed = shell.start("--in-flight", "20")
    shell.wait_for_lines(LINES // 4)
    killed.kill()
    killed.communicate(timeout=SECONDS)

    interrupted = shell.start("--in-flight", "20")
    shell.wait_for_lines(LINES // 2)
    interrupted.send_signal(signal.SIGINT)
    _, said = interrupted.communicate(timeout=SECONDS)
    assert interrupted.returncode == 130, said
    assert "lines are left. The same command goes on from here" in said

    code, said = shell.run()
    assert code == 0, said
    assert f"{LINES}/{LINES}" in said
    assert Counter(line["custom_id"] for line in shell.lines("out.jsonl")) == {f"id-{n}": 1 for n in range(LINES)}
    assert server.accepted("embedding") - before == LINES


def test_failures_are_in_a_file_of_their_own_and_the_exit_code_says_so(shell: Shell) -> None:
    shell.write(["scripted/size=256", "scripted/status=400", "nobody/model"])
    code, said = shell.run()
    assert code == 1
    assert "3/3  failed 2 (out.errors.jsonl)" in said
    [completed] = shell.lines("out.jsonl")
    assert (completed["custom_id"], completed["error"]) == ("id-0", None)
    assert len(completed["response"]["body"]["data"][0]["embedding"]) == 32
    failed = {line["custom_id"]: line["response"]["status_code"] for line in shell.lines("out.errors.jsonl")}
    assert failed == {"id-1": 400, "id-2": 400}
