"""What leaves the client: JSON and forms as bytes, and the headers of a submit."""

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multipart import MultipartParser, parse_options_header

from coatcheck_client import Submission
from coatcheck_client.submission import Encoded, Part, encode_form

Parts = list[tuple[str, str | None, bytes]]


def parse(encoded: Encoded) -> Parts:
    media_type, options = parse_options_header(encoded.headers["content-type"])
    assert media_type == "multipart/form-data"
    parser = MultipartParser(io.BytesIO(encoded.content), options["boundary"], strict=True)
    return [(part.name, part.filename, part.raw) for part in parser]


def transcription(files: object, **fields: object) -> Parts:
    return parse(Submission("transcription", fields, files).encode())  # type: ignore[arg-type]


def test_a_json_body_is_compact_utf8_under_a_json_content_type() -> None:
    encoded = Submission("embeddings", {"model": "m", "input": "größe"}).encode()
    assert encoded.content == '{"model":"m","input":"größe"}'.encode()
    assert encoded.headers["content-type"] == "application/json"


def test_bytes_are_sent_as_they_are() -> None:
    assert Submission("ocr", b'{ "model" : 1 }').encode().content == b'{ "model" : 1 }'


@pytest.mark.parametrize("body", [{"x": float("nan")}, {"x": "\ud800"}])
def test_what_json_cannot_hold_is_refused_before_anything_is_sent(body: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"JSON|Unicode"):
        Submission("embeddings", body).encode()


@pytest.mark.parametrize(("request_type", "body"), [("embeddings", "text"), ("transcription", b"raw")])
def test_a_body_of_the_wrong_kind_is_a_type_error(request_type: str, body: object) -> None:
    with pytest.raises(TypeError, match="mapping"):
        Submission(request_type, body).encode()  # type: ignore[arg-type]


def test_files_for_a_json_endpoint_are_refused() -> None:
    with pytest.raises(ValueError, match="not files"):
        Submission("embeddings", {}, {"file": b"x"}).encode()


def test_form_fields_become_text_parts_in_order() -> None:
    fields = {"model": "m", "n": 2, "temperature": 0.5, "flag": True, "gone": None, "tag": ["a", "b"],
              "fallbacks": [{"provider": "p", "model": "q"}], "options": {"k": [1]}}  # fmt: skip
    assert transcription(None, **fields) == [
        ("model", None, b"m"), ("n", None, b"2"), ("temperature", None, b"0.5"), ("flag", None, b"true"),
        ("tag", None, b"a"), ("tag", None, b"b"), ("fallbacks", None, b'[{"provider": "p", "model": "q"}]'),
        ("options", None, b'{"k": [1]}'),
    ]  # fmt: skip


def test_a_file_may_be_bytes_a_path_an_open_file_or_named_bytes_and_may_repeat(tmp_path: Path) -> None:
    path = tmp_path / "note.wav"
    path.write_bytes(b"\x00\r\n--")
    with path.open("rb") as opened:
        assert transcription({"a": b"1", "b": path, "c": opened, "d": ("x.mp3", b"2"), "e": [b"3", ("y", b"4")]}) == [
            ("a", "a", b"1"), ("b", "note.wav", b"\x00\r\n--"), ("c", "note.wav", b"\x00\r\n--"),
            ("d", "x.mp3", b"2"), ("e", "e", b"3"), ("e", "y", b"4"),
        ]  # fmt: skip


def test_the_content_type_of_a_file_is_guessed_unless_it_is_given() -> None:
    files = {"a": ("x.png", b""), "b": ("x", b""), "c": ("x", b"", "audio/flac")}
    content = Submission("image_edit", {}, files).encode().content  # type: ignore[arg-type]
    types = [line for line in content.split(b"\r\n") if line.startswith(b"Content-Type")]
    assert types == [b"Content-Type: image/png", b"Content-Type: application/octet-stream", b"Content-Type: audio/flac"]


@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8"), min_size=1), st.binary())))
def test_any_file_name_and_bytes_survive_the_form(files: list[tuple[str, bytes]]) -> None:
    body, content_type = encode_form(Part("file", data, filename=name) for name, data in files)
    boundary = parse_options_header(content_type)[1]["boundary"]
    if not files:
        assert body == b"--%b--\r\n" % boundary.encode()
        return
    parser = MultipartParser(io.BytesIO(body), boundary, part_limit=1000)
    assert [part.raw for part in parser] == [data for _, data in files]


def test_a_file_name_cannot_smuggle_a_header() -> None:
    head = Part("file", b"", filename='a"\r\nX-Evil: 1', media_type="a/b\r\nX-Evil: 1").head()
    assert head.count(b"\r\n") == 3
    assert head.endswith(b"\r\n\r\n")


def test_the_same_form_gives_the_same_bytes_so_a_retry_is_the_same_request() -> None:
    first, again, other = (
        Submission("transcription", {"model": "m"}, {"file": data}).encode() for data in (b"1", b"1", b"2")
    )
    assert first.content == again.content
    assert first.headers["content-type"] != other.headers["content-type"]


def test_every_submission_has_a_key_of_its_own_and_keeps_it() -> None:
    one, two = Submission("ocr", {}), Submission("ocr", {})
    assert one.encode().headers["idempotency-key"] == one.encode().headers["idempotency-key"] == one.idempotency_key
    assert one.idempotency_key != two.idempotency_key
    assert Submission("ocr", {}, idempotency_key="mine").encode().headers["idempotency-key"] == "mine"


@pytest.mark.parametrize("key", ["a b", "é", "a\n", "x" * 256])
def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="idempotency_key"):
        Submission("ocr", {}, idempotency_key=key).encode()


def test_ttl_deadline_and_further_headers_are_sent() -> None:
    headers = Submission("ocr", {}, ttl=60, deadline=30, headers={"X-BF-EH-Team": "a"}).encode().headers
    assert headers["x-bf-async-job-result-ttl"] == "60"
    assert headers["x-coatcheck-deadline"] == "30"
    assert headers["x-bf-eh-team"] == "a"


@pytest.mark.parametrize("seconds", [0, -1, 1.5])
def test_a_ttl_must_be_a_whole_number_of_seconds(seconds: int) -> None:
    with pytest.raises(ValueError, match="ttl"):
        Submission("ocr", {}, ttl=seconds).encode()


def test_the_key_is_no_header_of_the_callers() -> None:
    with pytest.raises(ValueError, match="idempotency_key="):
        Submission("ocr", {}, headers={"Idempotency-Key": "x"}).encode()


def test_a_submission_does_not_print_its_body() -> None:
    shown = repr(Submission("ocr", {"p": "secret"}, {"f": b"secret"}, headers={"h": "secret"}))
    assert "secret" not in shown
    assert "secret" not in repr(Submission("ocr", json.dumps({"p": "secret"}).encode()).encode())
