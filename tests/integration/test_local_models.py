"""Every local model, run for real: what it answers, how well, and that nothing is fetched and the loop never waits."""

import asyncio
import base64
import hashlib
import io
import math
import re
import struct
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFont, ImageOps

from shared.local_models import LOCAL_MODELS
from tests.unit.providers.local.calls import audio_call, decoded, json_call
from workers.providers.base import Answer, Call, ProviderError
from workers.providers.local.package_files import package_directory
from workers.providers.local.provider import LocalProvider
from workers.providers.local.samples import WINDOW_SECONDS

ROOT = Path(__file__).parents[2]
NOTICES = ROOT / "THIRD_PARTY_NOTICES.md"
SENTENCES = "The quick brown fox jumps over the lazy dog. Many green apples are lying on the kitchen table."
INVOICE = [
    "Invoice 2024-117",
    "Ada Lovelace",
    "Gears and wheels 45.00",
    "Punched cards 12.50",
    "Total 57.50",
    "",
    "Please pay within 14 days",
]


@pytest.fixture(scope="module")
def provider() -> Iterator[LocalProvider]:
    """One provider for all tests here, so that each model is loaded once."""
    provider = LocalProvider()
    yield provider
    asyncio.run(provider.close())


async def failure_of(provider: LocalProvider, call: Call) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await provider.call(call)
    return caught.value


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


# Embeddings and rerank


async def embed(provider: LocalProvider, texts: list[str], **options: Any) -> list[list[float]]:
    body = {"model": "local/minilm", "input": texts, **options}
    result = decoded(await provider.call(json_call("embedding", "minilm", body, timeout=120)))
    return [entry["embedding"] for entry in result["data"]]


def cosine(left: list[float], right: list[float]) -> float:
    return (
        math.sumprod(left, right) if hasattr(math, "sumprod") else sum(a * b for a, b in zip(left, right, strict=True))
    )


@pytest.mark.parametrize(
    ("text", "related", "unrelated"),
    [
        ("The cat sat on the mat.", "A kitten rested on a rug.", "Interest rates rose by half a point."),
        ("How do I reset my password?", "I forgot my login credentials.", "The museum opens at nine on Sundays."),
        ("It is raining heavily.", "The weather is very wet today.", "He plays the violin in an orchestra."),
        (
            "The company hired new engineers.",
            "The firm recruited software developers.",
            "Bananas are rich in potassium.",
        ),
        ("She drove her car to work.", "She commuted by automobile.", "The recipe needs two cups of flour."),
    ],
)
async def test_related_texts_are_nearer_than_unrelated_ones(
    provider: LocalProvider, text: str, related: str, unrelated: str
) -> None:
    anchor, near, far = await embed(provider, [text, related, unrelated])
    assert cosine(anchor, near) > 0.3
    assert cosine(anchor, far) < 0.15
    assert math.isclose(math.hypot(*anchor), 1, abs_tol=1e-5)
    assert len(anchor) == 384


async def test_a_text_has_the_same_vector_alone_and_among_others(provider: LocalProvider) -> None:
    texts = ["short", "a text of middling length, no more", "word " * 120, "word " * 500, "x"] * 3
    together = await embed(provider, texts)
    for text, vector in zip(texts[:5], together, strict=False):
        [alone] = await embed(provider, [text])
        assert cosine(alone, vector) > 0.9999


async def test_tokens_are_counted_as_the_model_reads_them(provider: LocalProvider) -> None:
    async def tokens(text: str) -> int:
        result = decoded(await provider.call(json_call("embedding", "minilm", {"input": text})))
        return int(result["usage"]["prompt_tokens"])

    assert await tokens("hello world") == 4  # with the start and the end marker
    assert await tokens("word " * 300) == 256
    assert await tokens("word " * 1_000_000) == 256


async def test_a_text_beyond_the_models_length_is_refused_when_it_must_not_be_cut(provider: LocalProvider) -> None:
    body = {"input": ["short", "word " * 300], "auto_truncate": False}
    error = await failure_of(provider, json_call("embedding", "minilm", body))
    assert (error.status_code, error.retryable) == (400, False)
    assert "input[1]" in error.message


async def test_the_document_that_answers_the_query_comes_first(provider: LocalProvider) -> None:
    body = {
        "query": "What is the capital of France?",
        "documents": ["Bananas are yellow.", "French wine is famous.", {"text": "Paris is the capital of France."}],
        "return_documents": True,
    }
    result = decoded(await provider.call(json_call("rerank", "minilm-biencoder", body)))
    assert [entry["index"] for entry in result["results"]] == [2, 1, 0]
    assert result["results"][0]["relevance_score"] > 0.7
    assert result["results"][2]["relevance_score"] < 0.1
    assert result["results"][0]["document"] == {"text": "Paris is the capital of France."}


async def test_many_first_calls_load_the_model_once(caplog: pytest.LogCaptureFixture) -> None:
    provider = LocalProvider()
    with caplog.at_level("INFO"):
        calls = [json_call("embedding", "minilm", {"input": f"text {number}"}) for number in range(8)]
        calls.append(json_call("rerank", "minilm-biencoder", {"query": "a", "documents": ["b"]}))
        answers = await asyncio.gather(*map(provider.call, calls))
    await provider.close()
    assert len(answers) == 9
    assert caplog.text.count("loaded in") == 1
    assert (await failure_of(provider, calls[0])).error_type == "bifrost_dropped"


# Speech and transcription


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


def wav(samples: bytes, *, rate: int, width: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(samples)
    return file.getvalue()


def silence(seconds: float) -> bytes:
    return wav(b"\x80" * round(seconds * 8000), rate=8000, width=1)


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


# OCR


def rendered(lines: list[str], *, angle: float = 0) -> Image.Image:
    image = Image.new("RGB", (800, 60 * len(lines) + 60), "white")
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((40, 30 + 60 * number), line, fill="black", font=ImageFont.load_default(32))
    return image.rotate(angle, expand=True, fillcolor="white") if angle else image


def png(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def ocr_call(file: bytes, *, type: str = "image_url", media_type: str = "image/png", **fields: Any) -> Call:
    url = f"data:{media_type};base64,{base64.b64encode(file).decode()}"
    body = {"model": "local/rapidocr", "document": {"type": type, type: url}, **fields}
    return json_call("ocr", "rapidocr", body, timeout=120)


@pytest.mark.parametrize("angle", [0, 3])
async def test_a_rendered_page_is_read_line_by_line(provider: LocalProvider, angle: float) -> None:
    file = png(rendered(INVOICE, angle=angle))
    result = decoded(await provider.call(ocr_call(file)))
    [page] = result["pages"]
    assert page["markdown"].split("\n") == INVOICE
    assert result["model"] == "rapidocr"
    assert result["usage_info"] == {"pages_processed": 1, "doc_size_bytes": len(file)}
    if not angle:
        assert page["dimensions"] == {"dpi": 72, "height": 480, "width": 800}


async def test_an_image_on_its_side_or_see_through_is_read_too(provider: LocalProvider) -> None:
    line = rendered(["Punched cards"])
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right by whoever shows it
    turned = png(line.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, dpi=(300, 300))
    [page] = decoded(await provider.call(ocr_call(turned, type="document_url", media_type="image/jpeg")))["pages"]
    assert page["markdown"] == "Punched cards"
    assert page["dimensions"] == {"dpi": 300, "height": line.height, "width": line.width}
    clear = Image.new("RGBA", line.size, "black")
    clear.putalpha(ImageOps.invert(line.convert("L")))
    [page] = decoded(await provider.call(ocr_call(png(clear))))["pages"]
    assert page["markdown"] == "Punched cards"


async def test_the_pages_of_a_tiff_are_read_and_chosen(provider: LocalProvider) -> None:
    sheets = [rendered([name]) for name in ("Alpha", "Bravo", "Charlie")]
    file = png(sheets[0], "TIFF", save_all=True, append_images=sheets[1:])
    result = decoded(await provider.call(ocr_call(file, media_type="image/tiff", pages=[0, 2])))
    assert [(page["index"], page["markdown"]) for page in result["pages"]] == [(0, "Alpha"), (2, "Charlie")]


async def test_an_empty_page_has_no_text(provider: LocalProvider) -> None:
    [page] = decoded(await provider.call(ocr_call(png(Image.new("RGB", (300, 200), "white")))))["pages"]
    assert page["markdown"] == ""


async def test_a_document_that_cannot_be_read_is_refused_with_the_reason(provider: LocalProvider) -> None:
    page = png(rendered(INVOICE))
    cases = [
        (ocr_call(page[: len(page) // 2]), "cannot be decoded"),
        (ocr_call(b"GIF89a"), "not an image"),
        (ocr_call(b"%PDF-1.7", type="document_url", media_type="application/pdf"), "not PDF"),
        (ocr_call(png(Image.new("1", (6500, 6500)))), "40 million pixels"),
        (ocr_call(png(Image.new("1", (14000, 14000)))), "40 million pixels"),
        (ocr_call(page, document_annotation_prompt="sum it up"), "annotations"),
    ]
    for url in ("https://example.com/a.png", "file:///etc/hostname", "/etc/hostname"):
        document = {"type": "image_url", "image_url": url}
        cases.append((json_call("ocr", "rapidocr", {"document": document}), "fetches no URLs"))
    document = {"type": "image_url", "image_url": "data:image/png;base64,AA!A"}
    cases.append((json_call("ocr", "rapidocr", {"document": document}), "not valid base64"))
    for call, words in cases:
        error = await failure_of(provider, call)
        assert (error.status_code, error.retryable) == (400, False)
        assert words in error.message


# Chat


async def chat(provider: LocalProvider, request_type: str, body: dict[str, Any], *, timeout: float = 120) -> Any:
    call = json_call(request_type, "smollm2-135m-demo", {"temperature": 0, **body}, timeout=timeout)
    return decoded(await provider.call(call))


async def test_the_demo_chats_in_the_three_shapes(provider: LocalProvider) -> None:
    messages = [{"role": "user", "content": "List three fruits."}]
    result = await chat(provider, "chat_completion", {"messages": messages})
    text = result["choices"][0]["message"]["content"]
    assert "apple" in text.lower()
    assert result["choices"][0]["finish_reason"] == "stop"
    usage = result["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 10
    same = await chat(provider, "responses", {"input": "List three fruits."})
    assert same["output"][0]["content"][0]["text"] == text
    assert same["usage"]["output_tokens"] == usage["completion_tokens"]
    counted = await chat(provider, "text_completion", {"prompt": ["a b c d", "1, 2, 3, 4,"], "max_tokens": 4})
    assert counted["choices"][0]["text"].startswith(" e f")
    assert "5" in counted["choices"][1]["text"]


async def test_a_token_limit_and_a_stop_word_end_the_answer(provider: LocalProvider) -> None:
    messages = [{"role": "user", "content": "List three fruits."}]
    cut = await chat(provider, "chat_completion", {"messages": messages, "max_tokens": 5})
    assert cut["choices"][0]["finish_reason"] == "length"
    assert cut["usage"]["completion_tokens"] == 5
    stopped = await chat(provider, "chat_completion", {"messages": messages, "stop": ["\n"]})
    assert "\n" not in stopped["choices"][0]["message"]["content"]


async def test_a_prompt_beyond_the_context_is_the_callers_error(provider: LocalProvider) -> None:
    body = {"messages": [{"role": "user", "content": "word " * 3000}]}
    error = await failure_of(provider, json_call("chat_completion", "smollm2-135m-demo", body))
    assert (error.status_code, error.retryable) == (400, False)
    assert "2048" in error.message


async def test_an_answer_that_nobody_waits_for_is_broken_off(provider: LocalProvider) -> None:
    await chat(provider, "text_completion", {"prompt": "Hi", "max_tokens": 1})
    body = {"messages": [{"role": "user", "content": "Write a very long story."}], "max_tokens": 2000}
    error = await failure_of(provider, json_call("chat_completion", "smollm2-135m-demo", body, timeout=1))
    assert error.status_code == 504
    started = time.monotonic()
    await chat(provider, "text_completion", {"prompt": "Hi", "max_tokens": 1})
    assert time.monotonic() - started < 5  # and not the many seconds of the story


ENGINE_PORT = """
import urllib.error, urllib.request
from workers.providers.local import smollm
engine = smollm.load(1)
for path in ("/v1/models", "/v1/chat/completions", "/slots", "/props", "/metrics"):
    try:
        urllib.request.urlopen(engine._server.listening_address + path)
    except urllib.error.HTTPError as error:
        print(path, error.code)
"""


def test_the_chat_engines_own_port_lets_nobody_in() -> None:
    said = run_python(ENGINE_PORT).split("\n")
    assert [line.split()[1] for line in said if line] == ["401"] * 5


# All of them


def test_the_models_files_are_the_ones_in_the_notices() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| `([0-9a-f]{64})` \|$", NOTICES.read_text(), re.MULTILINE)
    assert len(rows) == 11
    for name, digest in rows:
        package, _, path = name.partition("/")
        assert hashlib.sha256((package_directory(package) / path).read_bytes()).hexdigest() == digest, name


def test_every_model_has_its_line_in_the_documentation() -> None:
    page = (ROOT / "docs/local-models.md").read_text()
    for model in LOCAL_MODELS:
        [row] = re.findall(rf"^\| `local/{re.escape(model.id)}` \|.*$", page, re.MULTILINE)
        assert row.endswith(f"| {model.licence} |")
        assert f"| {f'`{model.extra}`' if model.extra else ''} |".replace("|  |", "| |") in row


OFFLINE = """
import sys
from importlib import import_module
from tests.integration.test_local_models import one_call_each
from workers.providers.local.task import Task

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"):
        raise AssertionError(f"{event} {arguments}")

sys.addaudithook(refuse)
for module, calls in one_call_each().items():
    model = import_module(f"workers.providers.local.{module}").load(1)
    for call in calls:
        print(module, len(model.answer(Task(call)).body), flush=True)
"""


def one_call_each() -> dict[str, list[Call]]:
    """One cheap call for each model, by the module that runs it."""
    return {
        "minilm": [
            json_call("embedding", "minilm", {"input": "a"}),
            json_call("rerank", "minilm-biencoder", {"query": "a", "documents": ["b"]}),
        ],
        "hibari": [json_call("speech", "hibari-heart", {"input": "Hello."})],
        "whisper": [audio_call(silence(2))],
        "rapid_ocr": [ocr_call(png(rendered(["Hello"])))],
        "smollm": [json_call("text_completion", "smollm2-135m-demo", {"prompt": "Hi", "max_tokens": 1})],
    }


def run_python(program: str) -> str:
    """What a program prints, run in an interpreter of its own that ends without native destructors."""
    program += "\nimport os, sys; sys.stdout.flush(); os._exit(0)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_no_model_asks_the_network_for_anything() -> None:
    answered = run_python(OFFLINE).split("\n")
    assert [line.split()[0] for line in answered if line] == [
        "minilm",
        "minilm",
        "hibari",
        "whisper",
        "rapid_ocr",
        "smollm",
    ]


LIGHT = """
import asyncio, sys
from pathlib import Path
from workers.providers.local.provider import LocalProvider
from tests.unit.providers.local.calls import json_call
async def main():
    provider = LocalProvider()
    before = set(sys.modules)
    await provider.call(json_call("embedding", "minilm", {"input": "a"}))
    await provider.close()
    heavy = {"numpy", "onnxruntime", "tokenizers"} & (set(sys.modules) | before)
    [peak] = [line for line in Path("/proc/self/status").read_text().split("\\n") if line.startswith("VmHWM")]
    print(int(peak.split()[1]) // 1024, sorted(heavy))
asyncio.run(main())
"""


def test_the_worker_itself_stays_small_whatever_models_do() -> None:
    megabytes, _, heavy = run_python(LIGHT).strip().partition(" ")
    assert int(megabytes) < 90
    assert heavy == "[]"


async def test_the_event_loop_goes_on_while_models_load_and_work() -> None:
    """All five models load and answer at once; the loop is asked every few milliseconds whether it is there."""
    provider = LocalProvider()
    late: list[float] = []

    async def watch() -> None:
        while True:
            asked = time.perf_counter()
            await asyncio.sleep(0.005)
            late.append(time.perf_counter() - asked - 0.005)

    watching = asyncio.create_task(watch())
    calls = [call for some in one_call_each().values() for call in some]
    await asyncio.gather(*map(provider.call, calls))
    watching.cancel()
    await provider.close()
    late.sort()
    assert len(late) > 50
    assert late[len(late) // 2] < 0.02
    assert late[-1] < 0.5, f"the loop stood still for {late[-1]:.3f} s"
