"""The operator's commands as real processes against a real database and broker: output, exit codes, signals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from coatcheck.dev.ports import free_ports
from shared.settings.table import Settings
from tests.support.ingress.server import ask
from tests.support.servers.brokers import broker_under_test
from tests.support.servers.mongod import MongodSet

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "coatcheck")
SECONDS = 60


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker for the tests of this file."""
    with broker_under_test(tmp_path_factory.mktemp("broker")) as broker:
        yield broker.bootstrap


@pytest.fixture
def environ(mongod: MongodSet, settings: Settings) -> dict[str, str]:
    """The environment of a command that finds the database, and no broker."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COATCHECK_")}
    return kept | {
        "COATCHECK_MONGODB_URI": mongod.uri,
        "COATCHECK_MONGODB_DATABASE": settings.mongodb_database,
        "COATCHECK_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_ports(1)[0]}",
        "COATCHECK_KAFKA_TOPIC_PREFIX": settings.mongodb_database,
    }


def command(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], env=environ, capture_output=True, text=True, timeout=SECONDS, check=False, cwd=ROOT
    )


def answer(environ: dict[str, str], *arguments: str) -> Any:
    """What a command that must succeed writes as JSON."""
    ran = command(environ, *arguments, "--json")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@contextmanager
def running(environ: dict[str, str], *arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A component and its admin port, killed at the end if it still runs."""
    process = subprocess.Popen(
        [*COMMAND, *arguments, "--admin-port", "0"], env=environ, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"metrics and health of .* on http://127\.0\.0\.1:(\d+)", line):
                yield process, int(found[1])
                return
        raise AssertionError(f"{arguments[0]} ended with {process.wait()}")
    finally:
        process.kill()
        process.communicate()


def wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + SECONDS
    while ask(port, "/readyz")[0] != 200:
        assert time.monotonic() < deadline, ask(port, "/readyz")
        time.sleep(0.02)


def test_init_creates_what_check_misses_and_can_be_repeated(environ: dict[str, str], kafka: str) -> None:
    environ["COATCHECK_KAFKA_BOOTSTRAP_SERVERS"] = kafka
    before = command(environ, "init", "--check")
    assert before.returncode == 1
    assert "index jobs.due is missing" in before.stderr
    assert "does not exist: run `coatcheck init`" in before.stderr
    made = answer(environ, "init", "--wait", "30")
    assert "jobs.due" in made["indexes"]["made"]
    assert f"{environ['COATCHECK_KAFKA_TOPIC_PREFIX']}.ocr" in made["topics"]["made"]
    again = answer(environ, "init")
    assert again["indexes"]["made"] == again["topics"]["made"] == []
    after = command(environ, "init", "--check")
    assert (after.returncode, after.stdout) == (0, "indexes  ok\ntopics   ok\n")


def test_init_does_its_half_when_the_broker_is_away(environ: dict[str, str]) -> None:
    ran = command(environ, "init")
    assert ran.returncode == 1
    assert "indexes  ok, made" in ran.stdout
    assert "no Kafka broker of" in ran.stderr


def test_init_print_needs_neither_database_nor_broker(environ: dict[str, str]) -> None:
    environ["COATCHECK_MONGODB_URI"] = "mongodb://127.0.0.1:1"
    needed = answer(environ, "init", "--print")
    assert set(needed) == {"indexes", "topics", "mongodb_rights", "kafka_rights"}
    assert all(needed.values())


def test_a_database_that_is_away_is_one_line_and_no_password(environ: dict[str, str]) -> None:
    environ["COATCHECK_MONGODB_URI"] = "mongodb://user:hunter22@127.0.0.1:1/?authSource=admin"
    ran = command(environ, "keys", "list")
    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1
    assert ran.stderr.startswith("coatcheck: MongoDB has no reachable primary")
    assert "hunter22" not in ran.stderr


def test_the_secret_of_a_new_key_is_all_that_is_on_stdout(environ: dict[str, str]) -> None:
    environ["OPENAI_API_KEY"] = "sk-of-the-provider"
    ran = command(environ, "keys", "create", "ci", "--models", "openai/*")
    assert ran.returncode == 0, ran.stderr
    assert re.fullmatch(r"sk-bf-[\w-]{43}\n", ran.stdout)
    assert "'ci'" in ran.stderr
    (listed,) = answer(environ, "keys", "list")
    assert (listed["name"], listed["models"]) == ("ci", ["openai/*"])
    assert ran.stdout.strip() not in command(environ, "keys", "list").stdout
    assert answer(environ, "keys", "rotate", listed["id"])["id"] == listed["id"]
    assert answer(environ, "keys", "revoke", listed["id"])["revoked_at"]
    assert command(environ, "keys", "revoke", "nobody").returncode == 1


def test_a_key_is_rotated_and_revoked_by_its_name_too(environ: dict[str, str]) -> None:
    made = answer(environ, "keys", "create", "ci", "--expires", "90d")
    assert (made["expires_at"] > made["created_at"], made["revoked_at"]) == (True, None)
    assert answer(environ, "keys", "rotate", "ci")["id"] == made["id"]
    assert answer(environ, "keys", "revoke", "ci")["id"] == made["id"]
    assert "no usable key 'ci'" in command(environ, "keys", "rotate", "ci").stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([""], "a key needs a name"),
        (["  "], "a key needs a name"),
        (["taken"], "there is a key called 'taken' already"),
        (["ci", "--models", "opnai/*"], "did you mean 'openai'?"),
        (["ci", "--models", "gpt-4o"], "matches no provider/model"),
        (["ci", "--models", " , "], "--models names no model"),
        (["ci", "--models", ""], "--models names no model"),
        (["ci", "--expires", "2001-01-01"], "must lie in the future"),
        (["ci", "--expires", "soon"], "neither a span"),
    ],
)
def test_a_key_that_would_open_nothing_or_be_mixed_up_is_refused(
    environ: dict[str, str], arguments: list[str], says: str
) -> None:
    environ["OPENAI_API_KEY"] = "sk-of-the-provider"
    answer(environ, "keys", "create", "taken")
    ran = command(environ, "keys", "create", *arguments)
    assert ran.returncode != 0
    assert says in ran.stderr
    assert len(answer(environ, "keys", "list")) == 1


def test_top_counts_every_modality(environ: dict[str, str], kafka: str) -> None:
    environ["COATCHECK_KAFKA_BOOTSTRAP_SERVERS"] = kafka
    command(environ, "init")
    assert len(answer(environ, "top", "--once")["modalities"]) == 6


def test_a_job_that_is_not_there_is_told(environ: dict[str, str]) -> None:
    unknown = "019ac0de-0000-7000-8000-000000000000"
    for arguments in (["job", unknown], ["dead", "requeue", unknown]):
        ran = command(environ, *arguments)
        assert (ran.returncode, ran.stdout) == (1, "")
        assert unknown in ran.stderr
    assert command(environ, "dead", "list", "--json").stdout == ""


def test_the_doctor_says_what_to_do_and_exits_with_1(environ: dict[str, str]) -> None:
    environ["OPENAI_API_KEY"] = ""
    ran = command(environ, "doctor", "--json")
    findings = [json.loads(line) for line in ran.stdout.splitlines()]
    problems = {finding["subject"]: finding["text"] for finding in findings if not finding["ok"]}
    assert ran.returncode == 1
    assert "run `coatcheck init`" in problems["indexes"]
    assert "`coatcheck keys create NAME`" in problems["keys"]
    assert "no Kafka broker" in problems["kafka"]
    assert "OPENAI_API_KEY" in problems["providers"]
    assert {finding["subject"] for finding in findings if finding["ok"]} >= {"python", "mongodb", "clock", "workers"}


def test_the_doctor_is_content_with_a_working_installation(environ: dict[str, str], kafka: str) -> None:
    environ |= {"COATCHECK_KAFKA_BOOTSTRAP_SERVERS": kafka, "COATCHECK_ALLOW_ANONYMOUS": "true"}
    environ["COATCHECK_LOCAL_MODELS"] = "minilm"
    assert command(environ, "init", "--wait", "30").returncode == 0
    ran = command(environ, "doctor")
    assert "PROBLEM" not in ran.stdout
    assert ran.returncode == 0


def test_a_reaper_is_ready_counts_and_leaves_on_sigterm(environ: dict[str, str], kafka: str) -> None:
    environ["COATCHECK_KAFKA_BOOTSTRAP_SERVERS"] = kafka
    command(environ, "init")
    with running(environ, "reaper", "--interval", "0.05") as (process, port):
        wait_until_ready(port)
        deadline = time.monotonic() + SECONDS
        while 'coatcheck_reaper_runs_total{outcome="ok"}' not in ask(port, "/metrics")[1]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert ask(port, "/livez") == (200, "ok\n")
        assert 'component="reaper"' in ask(port, "/metrics")[1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0


def test_a_worker_without_any_provider_says_so_and_is_not_ready(environ: dict[str, str]) -> None:
    environ = {name: value for name, value in environ.items() if not name.endswith(("_API_KEY", "_BASE_URL"))}
    command(environ, "init")
    with running(environ, "worker") as (process, port):
        deadline = time.monotonic() + SECONDS
        while "still starting" in (body := ask(port, "/readyz")[1]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert "worker: providers: no provider is configured: set OPENAI_API_KEY" in body
        assert (ask(port, "/readyz")[0], ask(port, "/livez")[0]) == (503, 200)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=SECONDS)
        assert "no provider is configured: set OPENAI_API_KEY" in said
    ran = command(environ, "doctor")
    assert "providers    PROBLEM no provider is configured" in ran.stdout


def test_a_stack_for_development_without_any_provider_says_so_at_once(environ: dict[str, str]) -> None:
    environ = {name: value for name, value in environ.items() if not name.endswith(("_API_KEY", "_BASE_URL"))}
    ran = command(environ, "dev", "--models", "none")
    assert ran.returncode == 2
    assert "no provider is configured" in ran.stderr


def test_a_component_that_waits_for_its_database_says_so_and_leaves_at_once(environ: dict[str, str]) -> None:
    environ["COATCHECK_MONGODB_URI"] = "mongodb://127.0.0.1:1"
    with running(environ, "reaper") as (process, port):
        status, body = ask(port, "/readyz")
        assert (status, body) == (503, "reaper: still starting\n")
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 0
        assert time.monotonic() - began < 5


def test_an_edge_shows_the_readiness_of_its_api_on_the_admin_port(environ: dict[str, str]) -> None:
    environ["COATCHECK_ALLOW_ANONYMOUS"] = "true"
    (api,) = free_ports(1)
    with running(environ, "edge", "--port", str(api)) as (process, port):
        wait_until_ready(port)
        assert ask(api, "/livez")[0] == 200
        assert ask(api, "/metrics")[0] == 404, "metrics are for the admin port only"
        assert 'coatcheck_build_info{component="edge"' in ask(port, "/metrics")[1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
        assert ask(port, "/livez")[0] == 0, "the admin port is closed with the master"


def test_an_edge_that_starts_before_its_database_is_alive_and_becomes_ready(
    environ: dict[str, str], tmp_path: Path
) -> None:
    mongod = MongodSet(tmp_path)
    environ |= {"COATCHECK_MONGODB_URI": mongod.uri, "COATCHECK_ALLOW_ANONYMOUS": "true"}
    (api,) = free_ports(1)
    with running(environ, "edge", "--port", str(api)) as (process, port):
        deadline = time.monotonic() + SECONDS
        while ask(api, "/livez")[0] != 200:
            assert time.monotonic() < deadline, "the API does not listen"
            time.sleep(0.02)
        assert ask(port, "/livez")[0] == 200
        assert ask(api, "/readyz")[0] == ask(port, "/readyz")[0] == ask(port, "/status/facts")[0] == 503
        with mongod:
            wait_until_ready(port)
            assert ask(api, "/readyz")[0] == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(SECONDS) == 0


def test_the_status_page_of_a_component_shows_all_processes(environ: dict[str, str]) -> None:
    environ["COATCHECK_ADMIN_TOKEN"] = "a-token-of-sixteen-characters"
    command(environ, "init")
    with running(environ, "reaper") as (_, port):
        wait_until_ready(port)
        assert "/status" in ask(port, "/")[1]
        assert ask(port, "/status")[0] == ask(port, "/status/facts")[0] == 401
        deadline = time.monotonic() + SECONDS
        while not (shown := answer(environ, "top", "--once"))["processes"]:
            assert time.monotonic() < deadline, "the reaper has not reported"
        assert [process["component"] for process in shown["processes"]] == ["reaper"]
        assert "No worker reports: nobody runs jobs." in [concern["says"] for concern in shown["concerns"]]
        assert "reaper" in command(environ, "top", "--once").stdout


def test_an_open_edge_that_nobody_could_use_says_both_ways_out(environ: dict[str, str]) -> None:
    ran = command(environ, "edge", "--host", "0.0.0.0", "--port", str(free_ports(1)[0]), "--admin-port", "0")
    assert ran.returncode == 2
    assert "`coatcheck keys create NAME`" in ran.stderr
    assert "COATCHECK_ALLOW_ANONYMOUS=true" in ran.stderr


@pytest.mark.parametrize("allowed_by", ["key", "setting"])
def test_an_open_edge_starts_with_a_key_or_by_decision(environ: dict[str, str], allowed_by: str) -> None:
    if allowed_by == "key":
        command(environ, "keys", "create", "ci")
    else:
        environ["COATCHECK_ALLOW_ANONYMOUS"] = "true"
    with running(environ, "edge", "--host", "0.0.0.0", "--port", str(free_ports(1)[0])) as (_, port):
        wait_until_ready(port)


@pytest.mark.parametrize("component", ["edge", "worker", "reaper"])
def test_a_component_whose_settings_only_the_driver_can_judge_exits_with_2_too(
    component: str, environ: dict[str, str]
) -> None:
    environ["COATCHECK_MONGODB_URI"] += "&tlsInsecure=true&tlsAllowInvalidCertificates=true"
    ran = command(environ, component, "--admin-port", "0", *(["--port", "0"] if component == "edge" else []))
    assert ran.returncode == 2, ran.stderr
    assert "mongodb_uri is not usable" in ran.stderr


def test_a_reader_that_leaves_early_is_no_error(environ: dict[str, str]) -> None:
    pipe = subprocess.run(
        f"{sys.executable} -m coatcheck config docs | head -n 1",
        shell=True,
        env=environ,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
        cwd=ROOT,
    )
    assert pipe.stdout == "| Variable | Default | Meaning |\n"
    assert pipe.stderr == ""
