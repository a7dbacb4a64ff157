"""One line of a batch file: what is accepted, what is refused and why, and what is written for it."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from coatcheck_client import ENDPOINTS, ApiError, Job, endpoint_of
from hypothesis import given, settings
from hypothesis import strategies as st

from coatcheck.batch.lines import LineProblem, Options, custom_id_of, ended_line, read_line, refused_line

EMBED: dict[str, Any] = {
    "custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"model": "local/minilm", "input": "x"},
}  # fmt: skip
WAV = "data:audio/wav;base64," + base64.b64encode(b"RIFF").decode()


def line(**changes: Any) -> bytes:
    return json.dumps({name: value for name, value in {**EMBED, **changes}.items() if value is not ...}).encode()


def transcription(**body: Any) -> bytes:
    return line(url="/v1/audio/transcriptions", body={"model": "m", **body})


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.request_type)
def test_each_of_the_eleven_urls_is_known(endpoint: Any) -> None:
    assert read_line(line(url=f"/v1/{endpoint.name}"), Options()).endpoint == endpoint


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.request_type)
def test_each_url_is_known_without_its_version_too_as_azure_writes_it(endpoint: Any) -> None:
    assert read_line(line(url=f"/{endpoint.name}"), Options()).endpoint == endpoint


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "not a JSON object"),
        (line(custom_id=...), "custom_id is missing"),
        (line(custom_id=7), "custom_id is missing or not a text"),
        (line(custom_id=""), "custom_id is missing"),
        (line(method="GET"), "method must be POST, not 'GET'"),
        (line(url=...), "url must be a path"),
        (line(url="https://api.openai.com/v1/embeddings"), "url must be a path"),
        (line(url="/v1/embedings"), "did you mean 'embeddings'"),
        (line(url="/embedings"), "did you mean 'embeddings'"),
        (line(url="embeddings"), "url must be a path"),
        (line(body=...), "body is missing"),
        (line(body="{}"), "body is missing or not an object"),
        (line(body={}), "model is missing"),
        (transcription(file="note.wav"), "must be a data URL, or @NAME"),
        (transcription(file="data:audio/wav,RIFF"), "data URL with base64"),
        (transcription(file="data:audio/wav;base64,R*"), "not base64"),
        (transcription(file="data:audio/../x;base64,UklGRg=="), "data URL with base64"),
        (transcription(file="data:;base64,UklGRg=="), "data URL with base64"),
        (transcription(file="@note.wav"), "with --files"),
    ],
)
def test_a_line_that_cannot_be_sent_is_refused_with_the_reason(text: bytes, problem: str) -> None:
    with pytest.raises(LineProblem, match=problem.replace("(", r"\(")):
        read_line(text, Options())


@settings(deadline=None)
@given(st.binary(max_size=80) | st.text().map(str.encode))
def test_no_bytes_crash_the_reader(text: bytes) -> None:
    with pytest.raises(LineProblem):
        read_line(text, Options())


@pytest.mark.parametrize(
    ("provider", "model", "sent"),
    [
        ("", "gpt-4o", "gpt-4o"),
        ("openai", "gpt-4o", "openai/gpt-4o"),
        ("openai", "openai/gpt-4o", "openai/gpt-4o"),
        ("vllm", "meta-llama/X", "vllm/meta-llama/X"),
    ],
)
def test_the_provider_goes_before_models_that_do_not_name_it(provider: str, model: str, sent: str) -> None:
    assert read_line(line(body={"model": model}), Options(provider=provider)).body["model"] == sent


def test_a_data_url_becomes_a_file_with_a_name_and_a_type() -> None:
    read = read_line(transcription(file=WAV, language="en"), Options())
    assert read.body == {"model": "m", "language": "en"}
    assert read.files == {"file": [("file.wav", b"RIFF", "audio/wav")]}


def test_a_file_is_read_from_the_folder_that_was_allowed_and_from_nowhere_else(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.wav").write_bytes(b"RIFF")
    (tmp_path / "secret").write_text("s")
    (folder / "link").symlink_to(tmp_path / "secret")
    options = Options(files_root=folder)
    assert read_line(transcription(file="@a.wav"), options).files == {"file": [folder / "a.wav"]}
    for name in ("@../secret", f"@{tmp_path}/secret", "@link"):
        with pytest.raises(LineProblem, match="outside"):
            read_line(transcription(file=name), options)
    with pytest.raises(LineProblem, match="not a file"):
        read_line(transcription(file="@gone.wav"), options)


def test_the_key_of_a_line_is_fixed_by_run_attempt_id_and_request() -> None:
    key = read_line(line(), Options()).submission("run", 0).idempotency_key
    assert key == read_line(line(), Options()).submission("run", 0).idempotency_key
    others = [
        read_line(line(), Options()).submission("other run", 0),
        read_line(line(), Options()).submission("run", 1),
        read_line(line(custom_id="b"), Options()).submission("run", 0),
        read_line(line(body={"model": "m"}), Options()).submission("run", 0),
        read_line(line(url="/v1/rerank"), Options()).submission("run", 0),
    ]
    assert len({key, *(other.idempotency_key for other in others)}) == 6


def test_a_result_is_written_as_openai_does() -> None:
    job = Job("j", endpoint_of("embeddings"), "completed", status_code=200, request_id="r", result={"data": []})
    assert json.loads(ended_line("a", job)) == {
        "id": "j", "custom_id": "a", "error": None,
        "response": {"status_code": 200, "request_id": "r", "body": {"data": []}},
    }  # fmt: skip


def test_a_failed_job_and_a_refused_request_are_written_with_their_status_and_error() -> None:
    error = {"status_code": 429, "error": {"message": "m"}}
    failed = json.loads(ended_line("a", Job("j", endpoint_of("ocr"), "failed", status_code=429, error=error)))
    assert failed["response"] == {"status_code": 429, "request_id": "j", "body": error}
    refused = json.loads(refused_line("a", "key", ApiError(400, "no input", "r")))
    assert refused["response"] == {"status_code": 400, "request_id": "r", "body": {"error": {"message": "no input"}}}
    assert refused["id"] == "key"


@settings(deadline=None)
@given(st.text(min_size=1), st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_any_result_is_one_line_that_names_its_custom_id(custom_id: str, result: Any) -> None:
    written = ended_line(custom_id, Job("j", endpoint_of("ocr"), "completed", result=result))
    assert written.count(b"\n") == 1
    assert written.endswith(b"\n")
    assert custom_id_of(written) == custom_id
    assert json.loads(written)["response"]["body"] == result


def test_text_that_is_not_unicode_can_still_be_written() -> None:
    written = ended_line("a", Job("j", endpoint_of("ocr"), "completed", result="\ud800"))
    assert json.loads(written)["response"]["body"] == "\ud800"
