"""Reads transcription forms, cuts recordings into windows, and writes the answer as JSON, text or subtitles."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec
import numpy as np

from shared.domain.form import Form, FormError
from workers.error_classification import bad_request
from workers.local_models.requests.task import json_answer
from workers.provider_interface import Answer

MAX_SECONDS = 30 * 60
SAMPLE_RATE = 16_000
"""What speech models read, in samples per second."""
WINDOW_SECONDS = 120
_SEARCH_SECONDS = 20  # at the end of a window, for the quietest moment
_FRAME = SAMPLE_RATE // 5
_FORMATS = ("json", "text", "verbose_json", "srt", "vtt")
_GRANULARITIES = ("segment", "word")


class TranscriptionRequest(NamedTuple):
    audio: bytes
    format: str
    words: bool
    prompt: str | None
    temperature: float | None


class Word(msgspec.Struct, frozen=True):
    word: str
    start: float
    end: float


class Segment(msgspec.Struct, frozen=True):
    """A stretch of speech with its time in seconds, in the shape of a verbose answer."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    words: list[Word] = []


class Heard(NamedTuple):
    segments: list[Segment]
    seconds: float

    @property
    def text(self) -> str:
        return "".join(segment.text for segment in self.segments).strip()


def read_request(form: Form) -> TranscriptionRequest:
    """Raises ProviderError for what this model cannot do."""
    try:
        return _read(form)
    except FormError as error:
        raise bad_request(error.message) from None


def _read(form: Form) -> TranscriptionRequest:
    files = form.files("file")
    if not files:
        raise bad_request("file part 'file' is missing: expected the audio as a file upload")
    language = (form.text("language") or "en").lower()
    if language not in ("en", "english") and not language.startswith(("en-", "en_")):
        raise bad_request(f"field 'language': this model knows English only, got {language[:40]!r}")
    wanted = form.text("response_format") or "json"
    if wanted not in _FORMATS:
        raise bad_request(f"field 'response_format': expected {', '.join(_FORMATS)}, got {wanted[:40]!r}")
    granularities = form.texts("timestamp_granularities[]") + form.texts("timestamp_granularities")
    unknown = next((entry for entry in granularities if entry not in _GRANULARITIES), None)
    if unknown is not None:
        raise bad_request(f"field 'timestamp_granularities[]': expected segment or word, got {unknown[:40]!r}")
    words = "word" in granularities and wanted == "verbose_json"
    return TranscriptionRequest(files[0].data, wanted, words, form.text("prompt") or None, _temperature(form))


def _temperature(form: Form) -> float | None:
    text = form.text("temperature")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise bad_request(f"field 'temperature': expected a number from 0 to 1, got {text[:40]!r}")
    return value


def windows(samples: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
    """Cuts a long recording where it is quiet, as memory grows with length: start in seconds, float32 from -1 to 1."""
    start, longest, search = 0, WINDOW_SECONDS * SAMPLE_RATE, _SEARCH_SECONDS * SAMPLE_RATE
    while len(samples) - start > longest:
        tail = samples[start + longest - search : start + longest].astype(np.float32)
        loudness = (tail.reshape(-1, _FRAME) ** 2).sum(axis=1)
        end = start + longest - search + int(loudness.argmin()) * _FRAME + _FRAME // 2
        yield start / SAMPLE_RATE, samples[start:end].astype(np.float32) / 32768
        start = end
    yield start / SAMPLE_RATE, samples[start:].astype(np.float32) / 32768


def answer_with(request: TranscriptionRequest, heard: Heard) -> Answer:
    match request.format:
        case "json":
            return json_answer({"text": heard.text, "usage": _usage(heard)})
        case "verbose_json":
            return json_answer(_verbose(request, heard))
        case "srt":
            return _plain(srt(heard.segments))
        case "vtt":
            return _plain(vtt(heard.segments))
        case _:
            return _plain(heard.text + "\n")


def srt(segments: Iterable[Segment]) -> str:
    """SubRip: numbered cues, a comma before the milliseconds."""
    return "\n".join(f"{number}\n{cue}" for number, cue in enumerate(_cues(segments, ","), 1))


def vtt(segments: Iterable[Segment]) -> str:
    """WebVTT: a header line, then the cues."""
    return "\n".join(["WEBVTT\n", *_cues(segments, ".")])


def _cues(segments: Iterable[Segment], point: str) -> list[str]:
    # An arrow in the text would read as a time line.
    return [
        f"{_time(each.start, point)} --> {_time(each.end, point)}\n{each.text.strip().replace('-->', '->')}\n"
        for each in segments
    ]


def _time(seconds: float, point: str) -> str:
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"


def _verbose(request: TranscriptionRequest, heard: Heard) -> dict[str, Any]:
    segments = [msgspec.structs.asdict(segment) for segment in heard.segments]
    words = [word for segment in segments for word in segment.pop("words")]
    return {
        "task": "transcribe",
        "language": "english",
        "duration": round(heard.seconds, 2),
        "text": heard.text,
        "segments": segments,
        "usage": _usage(heard),
        **({"words": words} if request.words else {}),
    }


def _usage(heard: Heard) -> dict[str, Any]:
    return {"type": "duration", "seconds": round(heard.seconds, 2)}


def _plain(text: str) -> Answer:
    return Answer(text.encode(), "text/plain; charset=utf-8")
