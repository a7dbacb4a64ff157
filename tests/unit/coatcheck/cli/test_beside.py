"""Commands that are typed beside a running stack: whose settings they take, and that they say so."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coatcheck.cli.main import run
from coatcheck.dev import settings_file

STACK = {
    "COATCHECK_MONGODB_URI": "mongodb://127.0.0.1:27999/?replicaSet=rs0",
    "COATCHECK_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9999",
    "COATCHECK_LOCAL_MODELS": "minilm",
    "COATCHECK_ADMIN_TOKEN": "sixteen-characters",
    "COATCHECK_LOG_FORMAT": "text",
}


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty working directory and no variables."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("COATCHECK_")]:
        monkeypatch.delenv(name)
    return tmp_path / ".coatcheck"


@contextmanager
def stack(data: Path, pid: int, *, held: bool = True) -> Iterator[None]:
    """What a stack leaves in its directory, with its lock as long as the block runs."""
    data.mkdir()
    settings_file.write(data, STACK, 8081, 9091)
    with (data / "lock").open("w") as lock:
        lock.write(json.dumps({"pid": pid, "url": "http://127.0.0.1:8081"}))
        lock.flush()
        if held:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def shown(capsys: pytest.CaptureFixture[str], *before: str) -> tuple[dict[str, object], str]:
    """What `config show` says, on stdout and on stderr."""
    assert run([*before, "config", "show", "--json"]) == 0
    said = capsys.readouterr()
    return json.loads(said.out), said.err


def test_a_command_beside_a_stack_has_its_settings_and_says_so_in_one_line(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with stack(here, os.getpid()):
        values, said = shown(capsys)
    assert values["kafka_bootstrap_servers"] == "127.0.0.1:9999"
    assert values["local_models"] == ["minilm"]
    assert values["admin_port"] == 9091
    assert said.count("\n") == 1
    assert ".coatcheck/coatcheck.toml" in said


def test_the_stack_beats_the_file_of_the_directory_and_a_flag_or_variable_beats_the_stack(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("coatcheck.toml").write_text("kafka_bootstrap_servers = 'other:1'\nslots = 7\nport = 1")
    monkeypatch.setenv("COATCHECK_ADMIN_PORT", "5")
    with stack(here, os.getpid()):
        values, _ = shown(capsys)
    assert (values["kafka_bootstrap_servers"], values["slots"], values["port"]) == ("127.0.0.1:9999", 7, 8081)
    assert values["admin_port"] == 5


@pytest.mark.parametrize(
    "name", ["COATCHECK_MONGODB_URI", "COATCHECK_MONGODB_URI_FILE", "COATCHECK_CONFIG", "--config"]
)
def test_who_names_another_database_gets_nothing_of_the_stack(
    name: str, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("uri").write_text("mongodb://elsewhere")
    Path("mine.toml").write_text("mongodb_uri = 'mongodb://elsewhere'")
    given = {"COATCHECK_MONGODB_URI": "mongodb://elsewhere", "COATCHECK_MONGODB_URI_FILE": "uri"}.get(name, "mine.toml")
    if not name.startswith("--"):
        monkeypatch.setenv(name, given)
    with stack(here, os.getpid()):
        values, said = shown(capsys, *([name, given] if name.startswith("--") else []))
    assert values["kafka_bootstrap_servers"] == "127.0.0.1:9092"
    assert said == ""


def ended_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


@pytest.mark.parametrize("why", ["its process is gone", "its process id was given to another"])
def test_what_a_killed_stack_left_is_not_used_and_that_is_said(
    why: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with stack(here, ended_process() if "gone" in why else os.getpid(), held=False):
        values, said = shown(capsys)
    assert values["kafka_bootstrap_servers"] == "127.0.0.1:9092"
    assert "runs no more: not used" in said
    assert said.count("\n") == 1


def test_without_a_stack_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    values, said = shown(capsys)
    assert values["kafka_bootstrap_servers"] == "127.0.0.1:9092"
    assert said == ""


@pytest.mark.parametrize("component", ["edge", "worker", "reaper"])
def test_a_component_does_not_join_the_stack_unasked(
    component: str, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COATCHECK_KAFKA_TOPIC_PREFIX", "not a topic")  # so that it does not start
    with stack(here, os.getpid()):
        assert run([component]) == 2
    assert "stack" not in capsys.readouterr().err


def test_the_file_is_for_its_owner_and_holds_no_admin_token(here: Path) -> None:
    with stack(here, os.getpid()):
        assert (here / "coatcheck.toml").stat().st_mode & 0o777 == 0o600
        assert "sixteen" not in (here / "coatcheck.toml").read_text()
        assert [path.name for path in here.iterdir() if path.name != "lock"] == ["coatcheck.toml"]


def test_a_client_command_asks_the_stack_unless_it_is_told_whom(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*options: str) -> str:
        run(["get", "embeddings/019ac0de-0000-7000-8000-000000000000", *options])
        return capsys.readouterr().err

    with stack(here, os.getpid()):
        assert "asking the stack that runs here, http://127.0.0.1:8081" in asked()
        assert "stack that runs here" not in asked("--url", "http://127.0.0.1:1")
        monkeypatch.setenv("COATCHECK_URL", "http://127.0.0.1:1")
        assert "stack that runs here" not in asked()
