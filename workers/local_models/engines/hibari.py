"""hibari with the voice "heart", a small network distilled from Kokoro: what `local/hibari-heart` speaks with."""

import io
import wave

import numpy as np
from hibari import SAMPLE_RATE, Hibari

from workers.error_classification import bad_request
from workers.local_models.requests.speech import VOICE, read_request
from workers.local_models.requests.task import Task
from workers.provider_interface import Answer

_SEED = 0  # for the breath noise: a call that is made twice gives the same bytes


class HibariHeart:
    def __init__(self, threads: int) -> None:
        # The other voices are downloads, this one is in the package.
        self._voice = Hibari(voice=VOICE, threads=threads)

    def answer(self, task: Task) -> Answer:
        """Speaks `input`: mono, 24 kHz, 16 bit, as WAV or as bare little-endian samples."""
        request = read_request(task)
        pieces: list[bytes] = []
        for audio in self._voice.stream(request.text, speed=request.speed, seed=_SEED):
            task.stop_if_abandoned()
            pieces.append((np.clip(audio, -1.0, 1.0) * 32767).astype("<i2").tobytes())
        samples = b"".join(pieces)
        if not samples:
            raise bad_request("field 'input': nothing in this text can be spoken")
        return Answer(samples, "audio/pcm") if request.format == "pcm" else Answer(_wav(samples), "audio/wav")


load = HibariHeart  # its pronunciation rules load with the first text


def _wav(samples: bytes) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE)
        writer.writeframes(samples)
    return file.getvalue()
