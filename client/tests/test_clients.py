"""Both clients against a server in memory: the verbs, what travels, and what may never show."""

import inspect
import logging
import subprocess
import sys
from typing import Any

import httpx
import pytest

from coatcheck_client import ApiError, AsyncCoatcheck, Coatcheck, Job, JobFailed, Unreachable, WaitTimeout
from coatcheck_client.testing import Fail, FakeServer, refusal

BODY = {"model": "local/minilm", "input": "the cat sat"}


def test_a_request_is_submitted_waited_for_and_its_result_collected(open_client: Any, server: FakeServer) -> None:
    server.polls = 2
    client = open_client(server)
    job = client.submit("embeddings", BODY)
    assert job.status == "pending"
    assert client.get(job).status == "processing"
    assert client.wait(job).status == "completed"
    assert client.result(job) == client.result(job.ticket) == {"echo": BODY}


def test_a_failed_job_raises_with_what_the_server_said(open_client: Any, server: FakeServer) -> None:
    def answer(request_type: str, body: Any) -> Any:
        raise Fail(503, "the model sleeps")

    server.answer = answer
    client = open_client(server)
    job = client.wait(client.submit("embeddings", BODY))
    assert (job.status, job.error_message) == ("failed", "the model sleeps")
    with pytest.raises(JobFailed, match="503: the model sleeps"):
        client.result(job)


def test_a_failed_job_that_was_requeued_leads_to_the_new_one(open_client: Any, server: FakeServer) -> None:
    def fail(request_type: str, body: Any) -> Any:
        raise Fail(503, "the model sleeps")

    server.answer = fail
    client = open_client(server)
    job = client.wait(client.submit("embeddings", BODY))
    again = server.requeue(job.id)
    client.wait(Job(again, job.endpoint, "pending"))
    last = server.requeue(again)
    server.answer = lambda request_type, body: "woken up"
    assert client.get(job).requeued_as == again, "the job itself never changes"
    assert client.wait(job.ticket).id == last
    assert client.result(job.ticket) == "woken up"


def test_of_a_requeued_job_that_is_gone_the_first_failure_is_told(open_client: Any, server: FakeServer) -> None:
    def fail(request_type: str, body: Any) -> Any:
        raise Fail(503, "the model sleeps")

    server.answer = fail
    client = open_client(server)
    job = client.wait(client.submit("embeddings", BODY))
    del server.jobs[server.requeue(job.id)]
    with pytest.raises(JobFailed, match="503: the model sleeps"):
        client.result(job.ticket)


def test_a_wait_that_takes_too_long_gives_the_job_back(open_client: Any, server: FakeServer) -> None:
    server.polls = 10**9
    client = open_client(server)
    job = client.submit("embeddings", BODY)
    with pytest.raises(WaitTimeout) as raised:
        client.wait(job, timeout=0.01)
    assert raised.value.job.id == job.id


def test_a_retried_submit_is_one_job(open_client: Any, server: FakeServer) -> None:
    server.script.extend([httpx.ReadError("reset"), refusal(503, "busy", retry_after="0")])
    job = open_client(server, retries=2).submit("embeddings", BODY)
    assert list(server.jobs) == [job.id]
    assert len({request.headers["idempotency-key"] for request in server.requests}) == 1


def test_the_same_key_is_the_same_job_and_another_request_under_it_is_refused(
    open_client: Any, server: FakeServer
) -> None:
    client = open_client(server)
    first, again = (client.submit("embeddings", BODY, idempotency_key="k") for _ in range(2))
    assert first.id == again.id
    with pytest.raises(ApiError, match="422"):
        client.submit("embeddings", {}, idempotency_key="k")


def test_a_submit_repeated_after_the_end_gives_the_ended_job_and_no_poll_is_sent(
    open_client: Any, server: FakeServer
) -> None:
    client = open_client(server)
    job = client.wait(client.submit("embeddings", BODY, idempotency_key="k"))
    polls = len(server.requests)
    again = client.submit("embeddings", BODY, idempotency_key="k")
    assert again.ended
    assert client.result(again) == job.result
    assert len(server.requests) == polls + 1


def test_files_and_fields_travel_as_a_form(open_client: Any, server: FakeServer) -> None:
    client = open_client(server)
    client.submit("audio/transcriptions", {"model": "m"}, {"file": ("a.wav", b"RIFF")})
    [request] = server.requests
    assert request.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert b'filename="a.wav"' in request.content
    assert b"RIFF" in request.content


def test_the_key_and_the_url_come_from_the_environment(
    open_client: Any, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COATCHECK_URL", "https://jobs.example/base/")
    monkeypatch.setenv("COATCHECK_API_KEY", " sk-bf-1\n")
    server.script.append(httpx.Response(202, json={"id": "i", "status": "pending"}))
    open_client(server).submit("embeddings", BODY)
    [request] = server.requests
    assert str(request.url) == "https://jobs.example/base/v1/async/embeddings"
    assert request.headers["authorization"] == "Bearer sk-bf-1"


def test_no_key_sends_no_authorization(open_client: Any, server: FakeServer) -> None:
    open_client(server).submit("embeddings", BODY)
    assert "authorization" not in server.requests[0].headers


def test_a_redirect_is_an_error_so_a_key_never_follows_one(open_client: Any, server: FakeServer) -> None:
    server.script.append(httpx.Response(307, headers={"location": "https://elsewhere.example/"}))
    with pytest.raises(ApiError, match="307"):
        open_client(server, api_key="sk-bf-1").submit("embeddings", BODY)
    assert len(server.requests) == 1


def test_the_api_key_shows_nowhere(open_client: Any, server: FakeServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server.script.extend([refusal(401, "unknown key"), httpx.ConnectError("refused")])
    client = open_client(server, api_key="sk-bf-secret")
    with pytest.raises(ApiError) as refused:
        client.submit("embeddings", BODY)
    with pytest.raises(Unreachable) as unreachable:
        client.submit("embeddings", BODY)
    assert "secret" not in f"{client!r} {refused.value!r} {unreachable.value!r} {caplog.text}"


@pytest.mark.parametrize("kind", [Coatcheck, AsyncCoatcheck])
@pytest.mark.parametrize(
    "options",
    [{"url": "127.0.0.1:8080"}, {"url": "ftp://h"}, {"url": "http://user:pw@h"}, {"url": "http://h/?a=1"},
     {"api_key": "a b"}, {"api_key": "clé"}, {"connections": 0}, {"retries": -1}, {"timeout": 0}],
)  # fmt: skip
def test_a_wrong_setting_is_refused_without_quoting_a_secret(kind: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|API key") as raised:
        kind(**options)
    assert "pw" not in str(raised.value)
    assert str(options.get("api_key", "?")) not in str(raised.value)


def test_both_clients_have_the_same_verbs_arguments_and_defaults() -> None:
    for name, member in vars(Coatcheck).items():
        if not name.startswith("_"):
            twin = inspect.signature(getattr(AsyncCoatcheck, name))
            assert list(twin.parameters.values()) == list(inspect.signature(member).parameters.values()), name


def test_importing_the_package_does_not_import_httpx() -> None:
    code = "import sys, coatcheck_client; sys.exit('httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
