"""Reads speech requests: what is to be said, and whether this voice can say it that way."""

from typing import Literal, NamedTuple

from shared.schemas import Speech
from workers.providers.local.task import Task, invalid

VOICE = "heart"
MAX_CHARACTERS = 4096
"""As in the API that this one follows: about five minutes of speech, 14 MB."""
_SLOWEST, _FASTEST = 0.5, 2.0


class SpeechRequest(NamedTuple):
    """A request that can be done. `speed` 1 is the usual pace."""

    text: str
    speed: float
    format: Literal["wav", "pcm"]


def read_request(task: Task) -> SpeechRequest:
    """Raises ProviderError for what this model cannot do."""
    request = task.json(Speech)
    text = request.input or ""
    if not text or len(text) > MAX_CHARACTERS:
        raise invalid(f"field 'input': expected 1 to {MAX_CHARACTERS} characters, got {len(text)}")
    _check_voice(request)
    speed = 1.0 if request.speed is None else float(request.speed)
    if not _SLOWEST <= speed <= _FASTEST:
        raise invalid(f"field 'speed': expected {_SLOWEST:g} to {_FASTEST:g}, got {request.speed:g}")
    if request.with_timestamps:
        raise invalid("field 'with_timestamps': this model gives no timestamps")
    match request.response_format:
        case None | "wav":
            return SpeechRequest(text, speed, "wav")
        case "pcm":
            return SpeechRequest(text, speed, "pcm")
        case other:
            raise invalid(f"field 'response_format': this model gives wav (the default) or pcm, got {other[:40]!r}")


def _check_voice(request: Speech) -> None:
    voices = [request.voice] if isinstance(request.voice, str) else [entry.voice for entry in request.voice or []]
    other = next((voice for voice in voices if voice != VOICE), None)
    if other is not None:
        raise invalid(f"field 'voice': this model has one voice, {VOICE!r}, got {other[:40]!r}")
    language = (request.language_code or "en").lower()
    if language != "en" and not language.startswith(("en-", "en_")):
        raise invalid(f"field 'language_code': this model speaks English only, got {language[:40]!r}")
