"""What the tests of local models send: rendered pages, recordings, one call for each model."""

import base64
import io
import re
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFont

from tests.unit.workers.local_models.calls import audio_call, json_call
from workers.local_models.provider import LocalProvider
from workers.provider_interface import Call, ProviderError

ROOT = Path(__file__).parents[3]
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


async def failure_of(provider: LocalProvider, call: Call) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await provider.call(call)
    return caught.value


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


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
