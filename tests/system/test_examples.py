"""The programs in examples/ and what README shows, pasted as it stands: only the address and the account are others."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from coatcheck.drill.scenarios.catalogue import SCENARIOS
from tests.support.servers.dev_server import DevServer, dev_server

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent
SECONDS = 120
LOCAL_CHAT = "local/smollm2-135m-demo"

BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
COMMANDS = dict(re.findall(r"^\| \[([\w.]+)\].* \| `([^`]+)` \|$", (EXAMPLES / "README.md").read_text(), re.MULTILINE))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """The stack of `make run MODELS=chat`."""
    with dev_server(tmp_path_factory.mktemp("dev"), models="chat") as running:
        yield running


def pasted(server: DevServer, text: str) -> str:
    """What stands on a page, for this server."""
    return re.sub(r"(?:http://)?(?:localhost|127\.0\.0\.1):8080", server.url, text)


def block(beginning: str) -> str:
    (found,) = [text for _, text in BLOCKS if text.startswith(beginning)]
    return found


def shell(server: DevServer, command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a line of a shell in the environment that the page speaks of."""
    environ = server.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        ["sh", "-c", command], cwd=folder, env=environ, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def example(server: DevServer, name: str) -> tuple[list[str], list[str]]:
    """Run the line of examples/README.md in the checkout; the lines on stdout and on stderr."""
    ran = shell(server, COMMANDS[name], ROOT)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines(), ran.stderr.splitlines()


# examples/


def test_the_page_of_the_examples_shows_how_to_run_each() -> None:
    programs = {path.name for path in EXAMPLES.iterdir()} - {"README.md", "requirements.txt"}
    assert set(COMMANDS) == programs
    tried = {path for path in programs if f'example(server, "{path}")' in Path(__file__).read_text()}
    assert tried == programs


def test_with_curl_a_request_is_submitted_polled_and_printed(server: DevServer) -> None:
    (answer,), (job, *status) = example(server, "curl.sh")
    assert status == ["status completed"]
    assert answer.startswith(f'{{"id":"{job.removeprefix("job ")}",')
    assert '"status":"completed"' in answer
    assert len(answer) == 400


def test_the_asyncio_client_finds_the_text_nearest_to_the_question(server: DevServer) -> None:
    (found,), progress = example(server, "asyncio_client.py")
    assert re.fullmatch(r"How long do noodles need\? -> Boil the pasta for nine minutes\. \(0\.\d\d\)", found)
    assert progress[-1] == "4/4"


def test_the_openai_package_submits_and_collects_what_a_model_says(server: DevServer) -> None:
    said, (submitted,) = example(server, "openai_package.py")
    assert re.fullmatch(r"[0-9a-f-]{36} queued", submitted)
    assert any(line.strip() for line in said)


def test_the_celery_task_is_the_same_job_for_the_same_order(server: DevServer) -> None:
    (line,), _ = example(server, "from_celery.py")
    assert re.fullmatch(r"embeddings/[0-9a-f-]{36}: 384 numbers, the first -?0\.\d{3}", line)
    accepted = server.accepted("embedding")
    assert example(server, "from_celery.py")[0] == [line]
    assert server.accepted("embedding") == accepted


def test_the_openai_batch_file_gets_a_line_for_each_of_its_lines(server: DevServer) -> None:
    results, _ = example(server, "from_openai_batch.py")
    assert results == [f"text-{number} 200 384 numbers" for number in range(3)]


def test_one_environment_has_what_all_examples_import() -> None:
    lines = [line for line in (EXAMPLES / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert set(lines) - {".", "./client"} <= set((ROOT / "requirements" / "test.in").read_text().splitlines())
    brought = {
        {".": "coatcheck", "./client": "coatcheck_client"}.get(line) or line.partition("==")[0] for line in lines
    }
    needed = {name for path in EXAMPLES.glob("*.py") for name in imported(path)}
    assert needed - sys.stdlib_module_names <= brought


def imported(path: Path) -> set[str]:
    """The modules that a program imports, or runs with `-m`."""
    found = re.findall(r"^(?:from|import) (\w+)|\"-m\", \"(\w+)\"", path.read_text(), re.MULTILINE)
    return {one or other for one, other in found}


# README.md

STACK, CURL, DRILL = "$ git clone", "$ curl -i", "$ make drill\n"
OPENAI, BATCH, CLIENT = "from openai", "$ .venv/bin/coatcheck batch", "from coatcheck_client"
SHOWN = {
    STACK: "test_the_stack_starts_with_the_lines_that_are_shown",
    CURL: "test_the_two_curl_lines_give_what_is_shown",
    DRILL: "tests/faults/test_drill.py",  # a minute of kill -9
    OPENAI: "test_the_stock_openai_package_goes_from_queued_to_completed",
    BATCH: "test_the_batch_command_runs_and_runs_again",
    CLIENT: "test_our_client_prints_the_usage",
}
"""Beginning of each block, and what runs it."""


def test_every_block_is_run_by_something() -> None:
    assert [next((start for start in SHOWN if text.startswith(start)), text) for _, text in BLOCKS] == list(SHOWN)
    for held in SHOWN.values():
        assert held in globals() or (ROOT / held).is_file()


def without_figures(line: str) -> str:
    return re.sub(r"\S*\d\S*|\.coatcheck\S*|/\S*(?:data|logs)\b", "N", line.strip())


def test_the_stack_starts_with_the_lines_that_are_shown(server: DevServer) -> None:
    command, made_by_make, *shown = block(STACK).splitlines()
    assert command.endswith("&& make run")
    assert made_by_make.startswith("packages ")
    assert {without_figures(line) for line in shown} == {without_figures(line) for line in server.said}


def same_shape(shown: Any, real: Any) -> None:
    """The same members in the same order; what is left out as `...` may be more."""
    if isinstance(shown, dict):
        more = "..." in shown
        names = [name for name in shown if name != "..."]
        assert list(real)[: len(names)] == names
        assert more or len(real) == len(names)
        for name in names:
            same_shape(shown[name], real[name])
    elif isinstance(shown, list) and shown != ["..."]:
        assert len(shown) == len(real)
        for one, other in zip(shown, real, strict=True):
            same_shape(one, other)
    else:
        assert type(shown) is type(real)


def as_json(shown: str) -> Any:
    """An answer of the page, with its dots as members that stand for others."""
    return json.loads(re.sub(r", \.\.\.", ', "...": 0', shown.replace("[...]", '["..."]')))


def test_the_two_curl_lines_give_what_is_shown(server: DevServer, tmp_path: Path) -> None:
    submit, status, *heads, submitted = block(CURL).partition("$ curl localhost")[0].rstrip().splitlines()
    ran = shell(server, pasted(server, submit.removeprefix("$ ")), tmp_path)
    head, _, body = ran.stdout.partition("\n\n")
    assert head.splitlines()[0].strip() == status
    job = json.loads(body)
    wanted = {line.replace(as_json(submitted)["id"], job["id"]) for line in heads} - {"..."}
    assert wanted <= {line.strip() for line in head.splitlines()}
    same_shape(as_json(submitted), job)
    assert job["status"] == "pending"

    poll, _, collected = block(CURL).partition("$ curl localhost")[2].partition("\n")
    line = pasted(server, f"curl --silent localhost{poll}").replace(as_json(submitted)["id"], job["id"])
    deadline = time.monotonic() + SECONDS
    while (answer := json.loads(shell(server, line, tmp_path).stdout))["status"] in ("pending", "processing"):
        assert time.monotonic() < deadline
    same_shape(as_json(collected), answer)
    assert (answer["status"], answer["status_code"]) == ("completed", 200)
    kept = [datetime.fromisoformat(of["expires_at"]) - datetime.fromisoformat(of["completed_at"]) for of in
            (answer, as_json(collected))]  # fmt: skip
    assert kept == [timedelta(hours=1)] * 2


def typed_into_python(server: DevServer, program: str) -> list[str]:
    """Paste lines into an interactive Python, in the environment of the checkout; what it prints."""
    ran = subprocess.run(
        [sys.executable, "-i", "-q"], input=program + "\n", env=server.environ,
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert "Error" not in ran.stderr, ran.stderr
    return ran.stdout.splitlines()


def test_the_stock_openai_package_goes_from_queued_to_completed(server: DevServer) -> None:
    program = pasted(server, block(OPENAI)).replace("openai/gpt-4o-mini", LOCAL_CHAT)
    *_, last = program.strip().splitlines()
    expression, _, comment = last.partition("  # ")
    states = comment.split(", ")
    again = f"import time\nwhile {expression} in {states[:-1]!r}: time.sleep(0.1)\n\n{expression}\n"
    first, after = map(ast.literal_eval, typed_into_python(server, f"{program}\n{again}"))
    assert states == ["queued", "in_progress", "completed"]
    assert first in states
    assert after in ("completed", "incomplete")  # the model, greeted, now and then talks up to its limit of tokens


def test_our_client_prints_the_usage(server: DevServer) -> None:
    (usage,) = typed_into_python(server, pasted(server, block(CLIENT)))
    assert ast.literal_eval(usage)["total_tokens"] > 0


def test_the_batch_command_runs_and_runs_again(server: DevServer, tmp_path: Path) -> None:
    (tmp_path / ".venv").symlink_to(sys.prefix)
    request = {"method": "POST", "url": "/v1/embeddings", "body": {"model": "local/minilm", "input": "hi"}}
    lines = [json.dumps({"custom_id": f"{number}", **request}) + "\n" for number in range(3)]
    (tmp_path / "jobs.jsonl").write_text("".join(lines))
    before = server.accepted("embedding")
    for _ in range(2):
        ran = shell(server, block(BATCH).strip().removeprefix("$ "), tmp_path)
        assert ran.returncode == 0, ran.stderr
        results = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
        assert {result["custom_id"]: result["response"]["status_code"] for result in results} == dict.fromkeys(
            "012", 200
        )
        assert server.accepted("embedding") - before == len(results) == 3


def test_the_rows_of_the_drill_are_named(server: DevServer, tmp_path: Path) -> None:
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (command,) = re.findall(r"`([^`]+)`\s+names the rows", README)
    ran = shell(server, command, tmp_path)
    assert {line.split()[0] for line in ran.stdout.splitlines()} >= set(SCENARIOS)
