"""Forms: every valid one is taken as it came, every other one is refused with the field in the text."""

from __future__ import annotations

import pytest

from shared.domain.errors import BadRequest
from shared.domain.form import Part, parse_form
from tests.unit.edge.submit.parsing import parse_json, parse_parts, text, upload

AUDIO = upload("file", b"RIFF", "note.wav")
FORMS: list[tuple[str, list[Part]]] = [
    ("transcription", [text("model", "openai/w"), AUDIO]),
    ("transcription", [text("model", "openai/w"), AUDIO, text("stream", "false"), text("temperature", "0.2")]),
    ("transcription", [text("model", "openai/w"), AUDIO, text("stream", "True"), text("odd", "")]),
    ("image_edit", [text("model", "openai/w"), text("prompt", "x"), upload("image"), upload("mask")]),
    ("image_edit", [text("model", "openai/w"), text("prompt", "x"), upload("image[]"), upload("image[]")]),
    ("image_edit", [text("model", "openai/w"), text("type", "background_removal"), upload("image")]),
    ("image_edit", [text("model", "openai/w"), text("prompt", "x"), upload("image"), text("n", "2")]),
    ("image_variation", [text("model", "openai/w"), upload("image"), text("stream", "true")]),
    ("image_variation", [text("model", "openai/w"), upload("image[]"), text("n", "-1")]),
]


@pytest.mark.parametrize(("request_type", "parts"), FORMS)
def test_a_valid_form_is_taken_as_it_came(request_type: str, parts: list[Part]) -> None:
    request = parse_parts(request_type, parts)
    assert request.content.kind == "multipart"
    assert parse_form(request.content.data, request.content.content_type).parts == parts


REFUSED_FORMS: list[tuple[str, list[Part], str]] = [
    ("transcription", [AUDIO], "model"),
    ("transcription", [text("model", ""), AUDIO], "model"),
    ("transcription", [text("model", "openai/w")], "file"),
    ("transcription", [text("model", "openai/w"), text("file", "RIFF")], "file"),
    ("transcription", [text("model", "openai/w"), AUDIO, text("stream", "true")], "stream"),
    ("image_edit", [text("model", "openai/w"), text("prompt", "x")], "image"),
    ("image_edit", [text("model", "openai/w"), upload("image")], "prompt"),
    ("image_edit", [text("model", "openai/w"), upload("image"), text("prompt", "x"), text("n", "two")], "n"),
    ("image_edit", [text("model", "openai/w"), upload("image"), text("prompt", "x"), text("stream", "true")], "stream"),
    ("image_edit", [text("model", "openai/w"), upload("image"), text("stream", "true")], "prompt"),
    ("image_variation", [text("model", "openai/w")], "image"),
    ("image_variation", [text("model", "openai/w"), upload("image"), text("n", "1.5")], "n"),
    ("image_variation", [upload("image")], "model"),
]


@pytest.mark.parametrize(("request_type", "parts", "field"), REFUSED_FORMS)
def test_an_invalid_form_is_refused_with_its_field(request_type: str, parts: list[Part], field: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_parts(request_type, parts)
    assert f"'{field}" in caught.value.message


def test_the_first_of_repeated_texts_counts() -> None:
    parts = [text("model", "openai/first"), text("model", "openai/second"), AUDIO]
    assert parse_parts("transcription", parts).targets[0].model == "first"


def test_form_fallbacks_are_repeated_texts_or_one_json_list() -> None:
    repeated = [text("model", "openai/a"), AUDIO, text("fallbacks", "openai/b"), text("fallbacks", "openai/c")]
    listed = [text("model", "openai/a"), AUDIO, text("fallbacks", '[{"provider":"openai","model":"b"},"openai/c"]')]
    for parts in (repeated, listed):
        assert [target.model for target in parse_parts("transcription", parts).targets] == ["a", "b", "c"]


@pytest.mark.parametrize("content_type", ["", "application/json", "multipart/form-data", "multipart/mixed; boundary=x"])
def test_a_form_route_takes_nothing_but_a_form_with_a_boundary(content_type: str) -> None:
    with pytest.raises(BadRequest, match="multipart"):
        parse_json("transcription", b"{}", content_type)
