"""Speech and transcription by the real models, mostly through each other."""

import io
import struct
import wave
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.integration.local.sent import SENTENCES, failure_of, png, silence, wav, words_of
from tests.unit.workers.local_models.calls import audio_call, decoded, json_call
from workers.local_models.provider import LocalProvider
from workers.local_models.requests.transcription import WINDOW_SECONDS
from workers.provider_interface import Answer


async def speak(provider: LocalProvider, text: str, **options: Any) -> Answer:
    return await provider.call(json_call("speech", "hibari-heart", {"input": text, "voice": "heart", **options}))


async def test_what_is_spoken_is_written_down_again(provider: LocalProvider) -> None:
    spoken = await speak(provider, SENTENCES)
    assert spoken.media_type == "audio/wav"
    heard = decoded(await provider.call(audio_call(spoken.body)))
    assert words_of(heard["text"]) == words_of(SENTENCES)
    assert heard["usage"]["type"] == "duration"
    assert 4 < heard["usage"]["seconds"] < 10


async def test_speech_is_mono_at_24_khz_with_16_bits_and_the_same_each_time(provider: LocalProvider) -> None:
    first = await speak(provider, "Good evening.")
    with wave.open(io.BytesIO(first.body)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24_000)
        samples = file.readframes(file.getnframes())
    bare = await speak(provider, "Good evening.", response_format="pcm")
    assert (bare.media_type, bare.body) == ("audio/pcm", samples)
    loudest = max(abs(sample) for (sample,) in struct.iter_unpack("<h", samples))
    assert loudest > 3000
    slow = await speak(provider, "Good evening.", response_format="pcm", speed=0.5)
    assert len(slow.body) > 1.5 * len(bare.body)


async def test_a_text_without_words_cannot_be_spoken(provider: LocalProvider) -> None:
    error = await failure_of(provider, json_call("speech", "hibari-heart", {"input": "\U0001f600", "voice": "heart"}))
    assert (error.status_code, error.retryable) == (400, False)
    assert "nothing in this text can be spoken" in error.message


async def test_words_have_their_times(provider: LocalProvider) -> None:
    spoken = await speak(provider, SENTENCES)
    options = [("response_format", "verbose_json"), ("timestamp_granularities[]", "word")]
    result = decoded(await provider.call(audio_call(spoken.body, options)))
    assert [word for entry in result["words"] for word in words_of(entry["word"])] == words_of(SENTENCES)
    times = [time for entry in result["words"] for time in (entry["start"], entry["end"])]
    assert times == sorted(times)
    assert times[-1] <= result["duration"] + 0.5
    subtitles = (await provider.call(audio_call(spoken.body, [("response_format", "srt")]))).body.decode()
    assert subtitles.startswith("1\n00:00:0")
    assert "lazy dog." in subtitles


async def test_a_recording_longer_than_a_window_keeps_its_words_and_their_times(provider: LocalProvider) -> None:
    first, second = SENTENCES.split(". ")
    spoken = [(await speak(provider, text, response_format="pcm")).body for text in (first, second)]
    pause = bytes(2 * 24_000 * (WINDOW_SECONDS + 10))
    recording = wav(spoken[0] + pause + spoken[1], rate=24_000, width=2)
    result = decoded(await provider.call(audio_call(recording, [("response_format", "verbose_json")])))
    assert words_of(result["text"]) == words_of(SENTENCES)
    starts = [segment["start"] for segment in result["segments"]]
    assert starts[0] < 2
    assert starts[-1] == pytest.approx((len(spoken[0]) + len(pause)) / 48_000, abs=1)


async def test_silence_has_no_words(provider: LocalProvider) -> None:
    assert decoded(await provider.call(audio_call(silence(5))))["text"] == ""


@pytest.mark.parametrize("case", ["noise", "nothing", "empty wav", "half a header", "too long", "an image"])
async def test_a_file_that_is_no_fitting_audio_is_refused(provider: LocalProvider, case: str) -> None:
    files = {
        "noise": bytes(range(256)) * 40,
        "nothing": b"",
        "empty wav": silence(0),
        "half a header": silence(1)[:20],
        "too long": silence(30 * 60 + 1),
        "an image": png(Image.new("RGB", (64, 64), "white")),
    }
    error = await failure_of(provider, audio_call(files[case]))
    assert (error.status_code, error.retryable, error.error_type) == (400, False, "caller_invalid_request")
    assert "file 'file'" in error.message


async def test_a_playlist_opens_no_other_file(provider: LocalProvider, tmp_path: Path) -> None:
    """A playlist that names a file of this machine must not be followed: its words would reach the client."""
    spoken = await speak(provider, SENTENCES)
    secret = tmp_path / "secret.wav"
    secret.write_bytes(spoken.body)
    playlists = [
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{secret}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile {secret}\n",
        f"v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 9 RTP/AVP 0\r\na={secret}\r\n",
    ]
    for playlist in playlists:
        error = await failure_of(provider, audio_call(playlist.encode()))
        assert error.status_code == 400
