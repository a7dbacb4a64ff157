"""Beside a running `coatcheck dev` every command works without a variable, and nothing is left when it stops."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.servers.dev_server import dev_server

Command = Callable[..., subprocess.CompletedProcess[str]]

SECONDS = 60
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith("COATCHECK_")}


def run(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A command in this directory, with no variable of ours but these."""
    return subprocess.run(
        [sys.executable, "-m", "coatcheck", *arguments],
        env=ENVIRON | environ, capture_output=True, text=True, timeout=SECONDS, check=False, cwd=folder,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory that a stack was started in."""
    folder = tmp_path_factory.mktemp("stack")
    (folder / ".coatcheck").symlink_to("data")
    with dev_server(folder):
        yield folder
    assert not (folder / "data" / "coatcheck.toml").exists()


def test_the_doctor_finds_a_running_stack_healthy(folder: Path) -> None:
    ran = run(folder, "doctor")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "PROBLEM" not in ran.stdout


@pytest.mark.parametrize(
    "arguments", [["top", "--once"], ["dead", "list"], ["keys", "list"], ["providers", "check"], ["init", "--check"]]
)
def test_an_operators_command_needs_no_variable(arguments: list[str], folder: Path) -> None:
    ran = run(folder, *arguments)
    assert ran.returncode == 0, ran.stderr
    assert "the stack that runs here" in ran.stderr


def test_a_job_is_submitted_collected_and_looked_up_without_a_variable(folder: Path) -> None:
    submitted = run(folder, "submit", "embeddings", '{"model": "local/minilm", "input": "the cat sat"}')
    ticket = submitted.stdout.strip()
    got = run(folder, "get", ticket, "--wait")
    assert len(json.loads(got.stdout)["data"]) == 1, got.stderr
    looked_up = run(folder, "job", ticket.partition("/")[2])
    assert "completed" in looked_up.stdout, looked_up.stderr


def test_a_variable_that_names_another_database_is_followed(folder: Path) -> None:
    ran = run(
        folder, "keys", "list", COATCHECK_MONGODB_URI="mongodb://127.0.0.1:1", COATCHECK_MONGODB_TIMEOUT_SECONDS="1"
    )
    assert ran.returncode == 1
    assert "no reachable primary" in ran.stderr
