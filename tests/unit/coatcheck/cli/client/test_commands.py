"""`coatcheck submit`, `get` and `batch` as a shell sees them: stdout, stderr and exit code, against a fake server."""

import io
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from coatcheck_client.testing import Fail, FakeServer, NotYet, listening, refusal

from coatcheck.batch.runner import Runner
from coatcheck.cli.client.jobs import json_text
from coatcheck.cli.main import run

BODY = '{"model":"local/minilm","input":"the cat sat"}'


@dataclass
class Ran:
    """A finished command."""

    code: int
    out: str
    err: str


Shell = Callable[..., Ran]


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def shell(
    server: FakeServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Shell]:
    def execute(*arguments: str) -> Ran:
        code = run(arguments)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    monkeypatch.chdir(tmp_path)
    with listening(server) as url:
        monkeypatch.setenv("COATCHECK_URL", url)
        yield execute


def never(request_type: str, body: Any) -> Any:
    raise NotYet


def failing(request_type: str, body: Any) -> Any:
    raise Fail(503, "the model sleeps")


def test_submit_writes_a_ticket_that_get_understands(shell: Shell) -> None:
    submitted = shell("submit", "embeddings", BODY)
    assert (submitted.code, submitted.err) == (0, "")
    got = shell("get", submitted.out.strip())
    assert (got.code, json.loads(got.out)) == (0, {"echo": json.loads(BODY)})


def test_submit_and_wait_writes_the_result_alone_to_stdout(shell: Shell, server: FakeServer) -> None:
    server.polls = 1
    ran = shell("submit", "embeddings", BODY, "--wait")
    assert (ran.code, json.loads(ran.out)) == (0, {"echo": json.loads(BODY)})
    assert "submitted, waiting" in ran.err


def test_json_writes_the_servers_envelope(shell: Shell) -> None:
    assert json.loads(shell("submit", "embeddings", BODY, "--json").out)["status"] == "pending"
    envelope = json.loads(shell("submit", "embeddings", BODY, "--wait", "--json").out)
    assert (envelope["status"], envelope["result"]) == ("completed", {"echo": json.loads(BODY)})


def test_the_body_comes_from_a_file_or_from_stdin(
    shell: Shell, server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "body.json").write_text(BODY)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(BODY.encode())))
    for body in ("@body.json", "-"):
        assert shell("submit", "embeddings", body).code == 0
    assert [job.content for job in server.jobs.values()] == [BODY.encode()] * 2


def test_files_are_sent_as_parts_of_a_form(shell: Shell, server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "note.wav").write_bytes(b"RIFF")
    ran = shell("submit", "audio/transcriptions", '{"model":"m"}', "--file", "file=@note.wav")
    assert ran.code == 0
    [job] = server.jobs.values()
    assert b'filename="note.wav"' in job.content
    assert b"RIFF" in job.content


def test_options_travel_as_headers(shell: Shell, server: FakeServer) -> None:
    shell("submit", "embeddings", BODY, "--ttl", "60", "--deadline", "30", "--idempotency-key", "k", "--key", "sk-bf-1")
    sent = server.requests[0].headers
    assert (sent["x-bf-async-job-result-ttl"], sent["x-coatcheck-deadline"]) == ("60", "30")
    assert (sent["idempotency-key"], sent["authorization"]) == ("k", "Bearer sk-bf-1")


def test_the_same_idempotency_key_is_the_same_ticket(shell: Shell) -> None:
    first, again = (shell("submit", "embeddings", BODY, "--idempotency-key", "k").out for _ in range(2))
    assert first == again


def test_a_failed_job_exits_with_1_and_says_why(shell: Shell, server: FakeServer) -> None:
    server.answer = failing
    ran = shell("submit", "embeddings", BODY, "--wait")
    assert (ran.code, ran.out) == (1, "")
    assert "failed with 503: the model sleeps" in ran.err
    ran = shell("submit", "embeddings", BODY, "--wait", "--json")
    assert (ran.code, json.loads(ran.out)["status"]) == (1, "failed")


def test_a_wait_that_is_over_exits_with_3_and_says_how_to_go_on(shell: Shell, server: FakeServer) -> None:
    server.answer = never
    ran = shell("submit", "embeddings", BODY, "--wait", "--timeout", "0")
    assert (ran.code, ran.out) == (3, "")
    assert "still processing: `coatcheck get embeddings/" in ran.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("submit", "embedings", BODY), "did you mean 'embeddings'"),
        (("submit", "embeddings", "{"), "BODY is not JSON"),
        (("submit", "embeddings", "[]"), "must be a JSON object"),
        (("submit", "embeddings", "@gone.json"), "cannot read gone.json"),
        (("submit", "embeddings", BODY, "--file", "file=@gone"), "cannot read gone"),
        (("submit", "embeddings", BODY, "--file", "note.wav"), "must be NAME=@PATH"),
        (("submit", "embeddings", BODY, "--timeout", "1"), "--timeout needs --wait"),
        (("submit", "embeddings", BODY, "--idempotency-key", "a b"), "idempotency_key"),
        (("submit", "embeddings", BODY, "--url", "nowhere"), "the URL must be like"),
        (("get", "embeddings/x", "--type", "embeddings"), "--type is for an id alone"),
        (("get", "nothing/x"), "unknown request type"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_to_write(
    shell: Shell, server: FakeServer, arguments: tuple[str, ...], message: str
) -> None:
    ran = shell(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert server.requests == []


@pytest.mark.parametrize(("status", "code"), [(400, 2), (401, 2), (422, 2), (500, 1)])
def test_a_refusal_is_usage_when_the_request_is_to_blame(
    shell: Shell, server: FakeServer, status: int, code: int
) -> None:
    server.script.append(refusal(status, "field 'input' is missing"))
    ran = shell("submit", "embeddings", BODY)
    assert ran.code == code
    assert "field 'input' is missing (request req-1)" in ran.err


def test_an_id_alone_is_found_at_whichever_endpoint_knows_it(shell: Shell) -> None:
    ticket = shell("submit", "rerank", BODY).out.strip()
    job_id = ticket.removeprefix("rerank/")
    assert shell("get", job_id).code == 0
    assert shell("get", job_id, "--type", "rerank").code == 0
    assert shell("get", job_id, "--type", "ocr").code == 2
    assert "no endpoint knows job" in shell("get", "gone").err


def test_get_of_a_running_job_says_so_on_stderr(shell: Shell, server: FakeServer) -> None:
    server.answer = never
    ticket = shell("submit", "embeddings", BODY).out.strip()
    ran = shell("get", ticket)
    assert (ran.code, ran.out, ran.err) == (0, "", f"{ticket} is processing\n")
    assert json.loads(shell("get", ticket, "--json").out)["status"] == "processing"


def test_a_result_that_is_not_unicode_is_still_written() -> None:
    assert json_text({"text": "größe"}) == '{"text": "größe"}'
    assert json_text("\ud800") == '"\\ud800"'


def test_a_vector_takes_one_line_and_texts_stay_as_they_are() -> None:
    value = {"data": [{"embedding": [0.5, -1e-08, 3]}], "text": "[\n1,\n2]"}
    lines = json_text(value, indent=2).splitlines()
    assert '      "embedding": [ 0.5, -1e-08, 3 ]' in lines
    assert json.loads("\n".join(lines)) == value


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    lines = [
        json.dumps({"custom_id": f"id-{n}", "method": "POST", "url": "/v1/embeddings", "body": {"model": "m", "n": n}})
        for n in range(10)
    ]
    path.write_text("\n".join(lines))
    return path


def written(path: Path) -> list[str]:
    return sorted(json.loads(line)["custom_id"] for line in path.read_text().splitlines()) if path.exists() else []


def test_a_batch_writes_results_and_says_how_far_it_came(shell: Shell, source: Path) -> None:
    ran = shell("batch", "in.jsonl", "-o", "out.jsonl")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.startswith("10/10  00:0")
    assert written(source.with_name("out.jsonl")) == [f"id-{n}" for n in range(10)]
    assert shell("batch", "in.jsonl", "-o", "out.jsonl").err.startswith("10 of 10 lines were done before")


def test_a_batch_with_failures_exits_with_1_and_names_their_file(
    shell: Shell, server: FakeServer, source: Path
) -> None:
    server.answer = failing
    ran = shell("batch", "in.jsonl", "-o", "out.jsonl", "--json")
    assert ran.code == 1
    assert "10/10  failed 10 (out.errors.jsonl)  00:0" in ran.err
    assert json.loads(ran.out) == {"total": 10, "completed": 0, "failed": 10, "output": "out.jsonl",
                                   "errors": "out.errors.jsonl", "seconds": json.loads(ran.out)["seconds"]}  # fmt: skip
    server.answer = lambda request_type, body: 1
    assert shell("batch", "in.jsonl", "-o", "out.jsonl").code == 1
    assert shell("batch", "in.jsonl", "-o", "out.jsonl", "--retry-failed", "--quiet").code == 0


@pytest.mark.parametrize("arguments", [("-o", "in.jsonl"), ("-o", "out.jsonl", "--errors", "./out.jsonl")])
def test_a_batch_never_writes_over_its_own_files(shell: Shell, source: Path, arguments: tuple[str, ...]) -> None:
    before = source.read_bytes()
    ran = shell("batch", "in.jsonl", *arguments)
    assert ran.code == 2
    assert "must be different files" in ran.err
    assert source.read_bytes() == before


def test_a_wrong_input_is_refused_before_anything_is_submitted(shell: Shell, server: FakeServer, source: Path) -> None:
    source.write_text(source.read_text() + "\n" + source.read_text())
    ran = shell("batch", "in.jsonl", "-o", "out.jsonl")
    assert ran.code == 2
    assert "custom_id 'id-0' is on lines 1 and 11" in ran.err
    assert server.requests == []
    assert not source.with_name("out.jsonl").exists()


def test_a_batch_out_of_time_exits_with_3_and_the_same_command_goes_on(
    shell: Shell, server: FakeServer, source: Path
) -> None:
    server.answer = lambda request_type, body: never(request_type, body) if body["n"] > 6 else body["n"]
    ran = shell("batch", "in.jsonl", "-o", "out.jsonl", "--timeout", "4")  # the other seven need one on a busy machine
    assert ran.code == 3
    assert "with 3 lines left. The same command goes on" in ran.err
    server.answer = lambda request_type, body: body["n"]
    assert shell("batch", "in.jsonl", "-o", "out.jsonl").code == 0
    assert written(source.with_name("out.jsonl")) == [f"id-{n}" for n in range(10)]
    assert len(server.jobs) == 10


def test_ctrl_c_lets_what_is_in_flight_end(shell: Shell, server: FakeServer, source: Path) -> None:
    def interrupted(request_type: str, body: Any) -> Any:
        if body["n"] == 2:
            os.kill(os.getpid(), signal.SIGINT)
            server.answer = lambda request_type, body: body["n"]
        raise NotYet

    server.answer = interrupted
    ran = shell("batch", "in.jsonl", "-o", "out.jsonl", "--in-flight", "3")
    assert ran.code == 130
    assert "waiting for 3 jobs in flight; Ctrl-C again" in ran.err
    assert "7 lines are left. The same command goes on" in ran.err
    assert written(source.with_name("out.jsonl")) == ["id-0", "id-1", "id-2"]
    assert shell("batch", "in.jsonl", "-o", "out.jsonl").code == 0
    assert len(server.jobs) == 10


@pytest.mark.parametrize("signals", [[signal.SIGINT, signal.SIGINT], [signal.SIGTERM]], ids=["ctrl-c twice", "term"])
def test_a_second_ctrl_c_or_a_term_leaves_at_once(
    shell: Shell, server: FakeServer, source: Path, signals: list[signal.Signals], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = threading.Event()
    heard.set()
    stop = Runner.stop

    def stop_and_tell(runner: Runner) -> None:
        stop(runner)
        heard.set()

    monkeypatch.setattr(Runner, "stop", stop_and_tell)

    def interrupted(request_type: str, body: Any) -> Any:
        if signals and heard.is_set():  # two signals at the same moment can reach a process as one
            heard.clear()
            os.kill(os.getpid(), signals.pop())
        raise NotYet

    server.answer = interrupted
    ran = shell("batch", "in.jsonl", "-o", "out.jsonl", "--in-flight", "3")
    assert ran.code == 130
    assert "10 lines are left" in ran.err
    server.answer = lambda request_type, body: body["n"]
    assert shell("batch", "in.jsonl", "-o", "out.jsonl").code == 0
    assert len(server.jobs) == 10


def test_a_batch_fails_at_once_without_a_server_or_a_key(shell: Shell, server: FakeServer, source: Path) -> None:
    ran = shell("batch", "in.jsonl", "-o", "out.jsonl", "--url", "http://127.0.0.1:1")
    assert ran.code == 1
    assert "no answer from http://127.0.0.1:1" in ran.err
    server.script.append(refusal(401, "unknown key"))
    ran = shell("batch", "in.jsonl", "-o", "out.jsonl")
    assert ran.code == 2
    assert "401: unknown key" in ran.err
    assert server.jobs == {}
    server.script.extend([refusal(404, "no such job"), refusal(401, "revoked")])
    ran = shell("batch", "in.jsonl", "-o", "out.jsonl")
    assert ran.code == 1
    assert "the server refuses: 401: revoked" in ran.err
    assert "The same command goes on" in ran.err
