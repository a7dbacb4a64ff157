"""Reads transcription forms and writes the answer as JSON, text or subtitles."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec

from shared.form import Form, FormError
from workers.providers.base import Answer
from workers.providers.local.task import invalid, json_answer

MAX_SECONDS = 30 * 60
_FORMATS = ("json", "text", "verbose_json", "srt", "vtt")
_GRANULARITIES = ("segment", "word")


class TranscriptionRequest(NamedTuple):
    """A form that can be done."""

    audio: bytes
    format: str
    words: bool
    prompt: str | None
    temperature: float | None


class Word(msgspec.Struct, frozen=True):
    """A word with its time in seconds."""

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
    """What was heard in `seconds` of audio."""

    segments: list[Segment]
    seconds: float

    @property
    def text(self) -> str:
        """All of it on one line."""
        return "".join(segment.text for segment in self.segments).strip()


def read_request(form: Form) -> TranscriptionRequest:
    """Raises ProviderError for what this model cannot do."""
    try:
        return _read(form)
    except FormError as error:
        raise invalid(error.message) from None


def _read(form: Form) -> TranscriptionRequest:
    files = form.files("file")
    if not files:
        raise invalid("file part 'file' is missing: expected the audio as a file upload")
    language = (form.text("language") or "en").lower()
    if language not in ("en", "english") and not language.startswith(("en-", "en_")):
        raise invalid(f"field 'language': this model knows English only, got {language[:40]!r}")
    wanted = form.text("response_format") or "json"
    if wanted not in _FORMATS:
        raise invalid(f"field 'response_format': expected {', '.join(_FORMATS)}, got {wanted[:40]!r}")
    granularities = form.texts("timestamp_granularities[]") + form.texts("timestamp_granularities")
    unknown = next((entry for entry in granularities if entry not in _GRANULARITIES), None)
    if unknown is not None:
        raise invalid(f"field 'timestamp_granularities[]': expected segment or word, got {unknown[:40]!r}")
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
        raise invalid(f"field 'temperature': expected a number from 0 to 1, got {text[:40]!r}")
    return value


def answer_with(request: TranscriptionRequest, heard: Heard) -> Answer:
    """The answer in the form the client asked for."""
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
    return "\n".join(f"{number}\n{cue}" for number, cue in enumerate(_cues(segments, _srt_time), 1))


def vtt(segments: Iterable[Segment]) -> str:
    """WebVTT: a header line, then the cues."""
    return "\n".join(["WEBVTT\n", *_cues(segments, _vtt_time)])


def _cues(segments: Iterable[Segment], time: Callable[[float], str]) -> list[str]:
    # An arrow in the text would read as a time line.
    return [
        f"{time(segment.start)} --> {time(segment.end)}\n{segment.text.strip().replace('-->', '->')}\n"
        for segment in segments
    ]


def _vtt_time(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}.{milliseconds % 1000:03}"


def _srt_time(seconds: float) -> str:
    return _vtt_time(seconds).replace(".", ",")


def _verbose(request: TranscriptionRequest, heard: Heard) -> dict[str, Any]:
    result: dict[str, Any] = {
        "task": "transcribe",
        "language": "english",
        "duration": round(heard.seconds, 2),
        "text": heard.text,
        "segments": [_without_words(segment) for segment in heard.segments],
        "usage": _usage(heard),
    }
    if request.words:
        result["words"] = [word for segment in heard.segments for word in segment.words]
    return result


def _without_words(segment: Segment) -> dict[str, Any]:
    fields = msgspec.structs.asdict(segment)
    del fields["words"]
    return fields


def _usage(heard: Heard) -> dict[str, Any]:
    return {"type": "duration", "seconds": round(heard.seconds, 2)}


def _plain(text: str) -> Answer:
    return Answer(text.encode(), "text/plain; charset=utf-8")
