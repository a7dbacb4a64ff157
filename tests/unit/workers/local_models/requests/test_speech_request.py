"""What the speech model takes, and what it says about the rest."""

from typing import Any

import pytest

from tests.unit.workers.local_models.calls import json_task
from workers.local_models.requests.speech import SpeechRequest, read_request
from workers.provider_interface import ProviderError


def read(**fields: Any) -> SpeechRequest:
    return read_request(json_task("speech", {"input": "Hello.", "voice": "heart", **fields}))


def complaint(**fields: Any) -> str:
    with pytest.raises(ProviderError) as caught:
        read(**fields)
    assert (caught.value.status_code, caught.value.retryable) == (400, False)
    assert caught.value.error_type == "caller_invalid_request"
    return caught.value.message


def test_wav_at_the_usual_pace_is_the_default() -> None:
    assert read() == SpeechRequest("Hello.", 1.0, "wav")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"response_format": "pcm"}, SpeechRequest("Hello.", 1.0, "pcm")),
        ({"response_format": "wav", "speed": 2}, SpeechRequest("Hello.", 2.0, "wav")),
        (
            {"voice": [{"voice": "heart", "speaker": "a"}], "language_code": "en-US"},
            SpeechRequest("Hello.", 1.0, "wav"),
        ),
        ({"voice": None, "instructions": "cheerfully"}, SpeechRequest("Hello.", 1.0, "wav")),
        ({"input": "x" * 4096}, SpeechRequest("x" * 4096, 1.0, "wav")),
    ],
)
def test_what_can_be_done_is_done(fields: dict[str, Any], expected: SpeechRequest) -> None:
    assert read(**fields) == expected


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"response_format": "mp3"}, ["response_format", "wav", "pcm", "'mp3'"]),
        ({"voice": "alloy"}, ["voice", "'heart'", "'alloy'"]),
        ({"voice": [{"voice": "heart"}, {"voice": "nova"}]}, ["'nova'"]),
        ({"speed": 0.25}, ["speed", "0.5 to 2", "0.25"]),
        ({"language_code": "de"}, ["English", "'de'"]),
        ({"with_timestamps": True}, ["with_timestamps"]),
        ({"input": ""}, ["input", "4096"]),
        ({"input": "x" * 4097}, ["4097"]),
        ({"input": 5}, ["`$.input`"]),
    ],
)
def test_what_cannot_be_done_is_named(fields: dict[str, Any], words: list[str]) -> None:
    message = complaint(**fields)
    assert all(word in message for word in words), message


def test_a_fallbacks_parameters_change_the_request() -> None:
    body = {"input": "Hello.", "voice": "alloy", "response_format": "mp3"}
    task = json_task("speech", body, params={"voice": "heart", "response_format": "pcm"})
    assert read_request(task) == SpeechRequest("Hello.", 1.0, "pcm")
