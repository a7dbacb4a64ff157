"""Decodes a client's audio file to the samples that speech models read. The file is hostile until proven otherwise."""

import io
from collections.abc import Callable, Iterator

import av
import numpy as np

from workers.providers.local.samples import SAMPLE_RATE
from workers.providers.local.task import invalid

_BYTES_PER_SAMPLE = 2
_CONTAINERS = "wav,mp3,flac,ogg,matroska,webm,mov,mp4,m4a,3gp,aac,amr,aiff,w64,caf"
# FFmpeg knows playlist formats that open other files and addresses. Only plain containers are tried, and no protocol.
_OPTIONS = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "none"}


def decode(file: bytes, *, max_seconds: float, stop: Callable[[], None]) -> np.ndarray:
    """Mono samples at 16 kHz as int16. Raises ProviderError when it is no audio or longer than `max_seconds`."""
    limit = int(max_seconds * SAMPLE_RATE) * _BYTES_PER_SAMPLE
    samples = bytearray()  # one growing buffer: freeing thousands of small ones holds the interpreter lock for long
    try:
        with av.open(io.BytesIO(file), mode="r", options=_OPTIONS, metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise invalid("file 'file': there is no audio in it")
            for frame in _resampled(container):
                stop()
                samples += frame.to_ndarray().tobytes()
                if len(samples) > limit:
                    raise invalid(f"file 'file': longer than {max_seconds / 60:g} minutes, the most this model takes")
    except (av.FFmpegError, ValueError) as error:
        raise invalid(f"file 'file': cannot be read as audio ({type(error).__name__})") from None
    if not samples:
        raise invalid("file 'file': there is no audio in it")
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
