"""Transcription forms are read strictly, and answers come in every format that was asked for."""

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.form import Form, Part
from tests.unit.workers.local_models.calls import audio_call, decoded
from workers.local_models.requests.task import Task
from workers.local_models.requests.transcription import (
    Heard,
    Segment,
    TranscriptionRequest,
    Word,
    answer_with,
    read_request,
    srt,
    vtt,
)
from workers.provider_interface import ProviderError


def segment(index: int, start: float, end: float, text: str, words: list[Word] | None = None) -> Segment:
    return Segment(index, 0, start, end, text, [1, 2], 0.0, -0.2, 1.1, 0.01, words or [])


HEARD = Heard(
    [
        segment(0, 0.0, 2.5, " Remember the milk.", [Word("Remember", 0.0, 0.4), Word("the", 0.4, 0.5)]),
        segment(1, 3661.25, 3662.0, " And --> bread."),
    ],
    3662.004,
)


def read(*texts: tuple[str, str]) -> TranscriptionRequest:
    return read_request(Task(audio_call(b"RIFF", list(texts))).form())


def requested(format: str, *, words: bool = False) -> TranscriptionRequest:
    return TranscriptionRequest(b"", format, words, None, None)


def test_a_bare_file_is_enough() -> None:
    assert read() == TranscriptionRequest(b"RIFF", "json", words=False, prompt=None, temperature=None)


def test_every_field_is_read() -> None:
    assert read(
        ("language", "en-GB"),
        ("response_format", "verbose_json"),
        ("timestamp_granularities[]", "segment"),
        ("timestamp_granularities[]", "word"),
        ("prompt", "milk"),
        ("temperature", "0.2"),
    ) == TranscriptionRequest(b"RIFF", "verbose_json", words=True, prompt="milk", temperature=0.2)


def test_words_are_for_verbose_answers_only() -> None:
    assert not read(("timestamp_granularities[]", "word")).words


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("language", "de", ["English only", "'de'"]),
        ("response_format", "diarized_json", ["verbose_json", "'diarized_json'"]),
        ("timestamp_granularities[]", "phoneme", ["segment or word", "'phoneme'"]),
        ("temperature", "hot", ["0 to 1", "'hot'"]),
        ("temperature", "nan", ["0 to 1"]),
        ("temperature", "1.5", ["0 to 1"]),
    ],
)
def test_what_cannot_be_done_is_named(field: str, value: str, words: list[str]) -> None:
    with pytest.raises(ProviderError) as caught:
        read((field, value))
    assert (caught.value.status_code, caught.value.retryable) == (400, False)
    assert all(word in caught.value.message for word in words), caught.value.message


def test_a_fallbacks_parameters_change_the_form() -> None:
    call = audio_call(b"RIFF", [("language", "de")], params={"language": "en", "prompt": "milk"})
    request = read_request(Task(call).form())
    assert (request.audio, request.prompt) == (b"RIFF", "milk")


def test_a_text_field_is_no_file() -> None:
    with pytest.raises(ProviderError, match="'file' is missing"):
        read_request(Form([Part("file", None, None, b"RIFF")]))


def test_json_holds_the_text_and_the_seconds() -> None:
    assert decoded(answer_with(requested("json"), HEARD)) == {
        "text": "Remember the milk. And --> bread.",
        "usage": {"type": "duration", "seconds": 3662.0},
    }


def test_verbose_json_holds_segments_and_words_apart() -> None:
    result = decoded(answer_with(requested("verbose_json", words=True), HEARD))
    assert (result["task"], result["language"], result["duration"]) == ("transcribe", "english", 3662.0)
    assert [entry["text"] for entry in result["segments"]] == [" Remember the milk.", " And --> bread."]
    assert "words" not in result["segments"][0]
    assert result["words"] == [
        {"word": "Remember", "start": 0.0, "end": 0.4},
        {"word": "the", "start": 0.4, "end": 0.5},
    ]
    assert "words" not in decoded(answer_with(requested("verbose_json"), HEARD))


def test_text_is_plain() -> None:
    answer = answer_with(requested("text"), HEARD)
    assert answer.media_type == "text/plain; charset=utf-8"
    assert answer.body == b"Remember the milk. And --> bread.\n"


def test_srt_numbers_its_cues() -> None:
    assert answer_with(requested("srt"), HEARD).body.decode() == (
        "1\n00:00:00,000 --> 00:00:02,500\nRemember the milk.\n\n2\n01:01:01,250 --> 01:01:02,000\nAnd -> bread.\n"
    )


def test_vtt_has_a_head() -> None:
    assert answer_with(requested("vtt"), HEARD).body.decode() == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:02.500\nRemember the milk.\n\n01:01:01.250 --> 01:01:02.000\nAnd -> bread.\n"
    )


def test_silence_has_no_cues() -> None:
    nothing = Heard([], 5.0)
    assert nothing.text == ""
    assert (srt(nothing.segments), vtt(nothing.segments)) == ("", "WEBVTT\n")


@given(st.lists(st.tuples(st.floats(0, 1800), st.floats(0, 60), st.text(max_size=30)), max_size=8))
def test_times_are_well_formed_and_only_cues_have_them(cues: list[tuple[float, float, str]]) -> None:
    segments = [segment(index, start, start + length, said) for index, (start, length, said) in enumerate(cues)]
    for text, mark in ((srt(segments), ","), (vtt(segments), r"\.")):
        stamp = rf"\d\d:[0-5]\d:[0-5]\d{mark}\d\d\d"
        assert len(re.findall(rf"^{stamp} --> {stamp}$", text, re.MULTILINE)) == len(cues)
        assert text.count("-->") == len(cues)


def test_a_segment_can_be_encoded() -> None:
    assert msgspec.json.decode(msgspec.json.encode(HEARD.segments))[1]["start"] == 3661.25
