"""Reads speech requests: what is to be said, and whether this voice can say it that way."""

from typing import Literal, NamedTuple

from shared.domain.schemas import Speech
from workers.error_classification import bad_request
from workers.local_models.requests.task import Task

VOICE = "heart"
MAX_CHARACTERS = 4096
"""As in the API that this one follows: about five minutes of speech, 14 MB."""
_SLOWEST, _FASTEST = 0.5, 2.0


class SpeechRequest(NamedTuple):
    text: str
    speed: float
    format: Literal["wav", "pcm"]


def read_request(task: Task) -> SpeechRequest:
    """Raises ProviderError for what this model cannot do."""
    request = task.json(Speech)
    text = request.input or ""
    if not text or len(text) > MAX_CHARACTERS:
        raise bad_request(f"field 'input': expected 1 to {MAX_CHARACTERS} characters, got {len(text)}")
    _check_voice(request)
    speed = 1.0 if request.speed is None else float(request.speed)
    if not _SLOWEST <= speed <= _FASTEST:
        raise bad_request(f"field 'speed': expected {_SLOWEST:g} to {_FASTEST:g}, got {request.speed:g}")
    if request.with_timestamps:
        raise bad_request("field 'with_timestamps': this model gives no timestamps")
    match request.response_format:
        case None | "wav":
            return SpeechRequest(text, speed, "wav")
        case "pcm":
            return SpeechRequest(text, speed, "pcm")
        case other:
            raise bad_request(f"field 'response_format': this model gives wav (the default) or pcm, got {other[:40]!r}")


def _check_voice(request: Speech) -> None:
    voices = [request.voice] if isinstance(request.voice, str) else [entry.voice for entry in request.voice or []]
    other = next((voice for voice in voices if voice != VOICE), None)
    if other is not None:
        raise bad_request(f"field 'voice': this model has one voice, {VOICE!r}, got {other[:40]!r}")
    language = (request.language_code or "en").lower()
    if language != "en" and not language.startswith(("en-", "en_")):
        raise bad_request(f"field 'language_code': this model speaks English only, got {language[:40]!r}")
