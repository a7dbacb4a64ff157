"""Generated bodies against the application: JSON of any shape, forms of any shape, and both of them damaged.

Whatever comes, it is a job that a worker gets byte for byte, or an error in the contract's form; never a 500.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from typing import Any
from uuid import UUID

import httpx
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

from edge.app import EdgeServices, create_app
from shared.domain.catalogue import CATALOGUE, Endpoint
from shared.settings.reading import load_settings
from tests.support.fakes.store import FakeClock, FakeStore
from tests.support.http_api import PROVIDERS, Notifications, quick
from tests.support.requests import JSON_BODIES, SAMPLES

SETTINGS = quick(load_settings(environ={}), max_request_bytes=100_000)
STORE = FakeStore(SETTINGS, FakeClock(running=True))
APP = create_app(EdgeServices(SETTINGS, STORE, Notifications(), PROVIDERS))
EXAMPLES = how(
    max_examples=int(os.environ.get("TEST_EXAMPLES", "100")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
JSON_ENDPOINTS = [endpoint for endpoint in CATALOGUE if endpoint.form is None]
FORM_ENDPOINTS = [endpoint for endpoint in CATALOGUE if endpoint.form is not None]

WORDS = st.sampled_from(
    [
        "",
        "$where",
        "a.b",
        "\0",
        "\r\nX: 1",
        "\u202e",
        "\U0001f600",
        "openai/m",
        "openai/",
        "/",
        "x" * 300,
        "true",
        "sse",
    ]
)
TEXTS = WORDS | st.text(max_size=20)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
VALUES = st.recursive(SCALARS, lambda each: st.lists(each, max_size=4) | st.dictionaries(TEXTS, each, max_size=4))
NAMES = st.sampled_from(
    ["model", "input", "messages", "prompt", "stream", "stream_format", "fallbacks", "documents", "query", "n", "voice"]
)


def submit(endpoint: Endpoint, body: bytes, headers: list[tuple[str, bytes]]) -> None:
    """Send it, and hold the answer and what was stored to what is promised."""

    async def exchange() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=APP), base_url="http://edge") as client:
            raw = [(name.encode(), value) for name, value in headers]
            return await client.post(endpoint.path, content=body, headers=raw)

    STORE.jobs.clear()
    answer = asyncio.run(exchange())
    said = json.loads(answer.content)
    if answer.status_code == 202:
        (job,) = STORE.jobs.values()
        assert job.job.id == UUID(said["id"])
        assert job.job.content.data == body
        return
    assert answer.status_code in (400, 413, 415, 422), answer.text
    assert not STORE.jobs
    assert said["status_code"] == answer.status_code
    message = said["error"]["message"]
    assert message.isprintable(), message
    assert 0 < len(message) < 1000, message


@EXAMPLES
@given(endpoint=st.sampled_from(JSON_ENDPOINTS), changes=st.dictionaries(NAMES | TEXTS, VALUES, max_size=4))
def test_any_json_is_a_job_byte_for_byte_or_a_4xx_in_words(endpoint: Endpoint, changes: dict[str, Any]) -> None:
    fields = JSON_BODIES[endpoint.request_type] | changes
    submit(endpoint, json.dumps(fields).encode("utf-8", "surrogatepass"), [])


@EXAMPLES
@given(endpoint=st.sampled_from(JSON_ENDPOINTS), seed=st.integers(0, 1 << 32), count=st.integers(1, 4))
def test_damaged_json_is_never_more_than_a_4xx(endpoint: Endpoint, seed: int, count: int) -> None:
    submit(endpoint, damaged(SAMPLES[endpoint.request_type].body, random.Random(seed), count), [])


PART_LINES = st.sampled_from(
    [
        'Content-Disposition: form-data; name="model"\r\n\r\nopenai/m',
        'Content-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\nID3',
        'Content-Disposition: form-data; name="image"; filename="a.png"\r\n\r\nPNG',
        'Content-Disposition: form-data; name="prompt"\r\n\r\nadd a moon',
        'Content-Disposition: form-data; name="fallbacks"\r\n\r\n["openai/m",{}]',
        'Content-Disposition: form-data; name="stream"\r\n\r\ntrue',
        'Content-Disposition: form-data; name="n"\r\n\r\n' + "9" * 5000,
        'Content-Disposition: form-data; name=""\r\n\r\nx',
        "Content-Disposition: form-data\r\n\r\nx",
        'Content-Disposition: attachment; name="a\\";b="\r\n\r\nx',
        "Content-Type: text/plain\r\n\r\nx",
        "\r\n\r\n",
        "",
    ]
)
BOUNDARIES = st.sampled_from(["b", "b" * 70, "b" * 71, "--", "a b", 'q"q', "ä", ""]) | st.text(max_size=5)


@EXAMPLES
@given(
    endpoint=st.sampled_from(FORM_ENDPOINTS),
    parts=st.lists(PART_LINES | st.text(max_size=40), max_size=70),
    boundary=BOUNDARIES,
    end=st.sampled_from(["--{}--\r\n", "--{}--", "--{}", "", "--{}--\r\nepilogue"]),
    media_type=st.sampled_from(
        [
            "multipart/form-data; boundary={}",
            'multipart/form-data; boundary="{}"',
            "multipart/form-data",
            "text/plain",
            "",
        ]
    ),
)
def test_any_form_is_a_job_byte_for_byte_or_a_4xx_in_words(
    endpoint: Endpoint, parts: list[str], boundary: str, end: str, media_type: str
) -> None:
    text = "".join(f"--{boundary}\r\n{part}\r\n" for part in parts) + end.format(boundary)
    submit(endpoint, utf8(text), [("content-type", header(media_type.format(boundary)))])


@EXAMPLES
@given(endpoint=st.sampled_from(FORM_ENDPOINTS), seed=st.integers(0, 1 << 32), count=st.integers(1, 4))
def test_a_damaged_form_is_never_more_than_a_4xx(endpoint: Endpoint, seed: int, count: int) -> None:
    sample = SAMPLES[endpoint.request_type]
    submit(endpoint, damaged(sample.body, random.Random(seed), count), [("content-type", sample.content_type.encode())])


HEADER_NAMES = st.sampled_from(
    [
        *("idempotency-key", "x-coatcheck-deadline", "x-bf-async-job-result-ttl", "x-bf-vk", "authorization"),
        *("x-request-id", "content-type", "x-bf-eh-x", "x-bf-eh-", "x-bf-async", "x-bf-async-id", "x-bf-async-webhook"),
        *("x-bf-passthrough-extra-params", "range", "if-none-match", "accept", "x-forwarded-for", "origin"),
    ]
)


@EXAMPLES
@given(st.sampled_from(JSON_ENDPOINTS), st.lists(st.tuples(HEADER_NAMES, st.text(max_size=40)), max_size=6))
def test_no_header_is_more_than_a_4xx(endpoint: Endpoint, headers: list[tuple[str, str]]) -> None:
    submit(endpoint, SAMPLES[endpoint.request_type].body, [(name, header(value)) for name, value in headers])


def damaged(body: bytes, rng: random.Random, count: int) -> bytes:
    """The body with a few bytes overwritten, cut out, doubled or put in."""
    data = bytearray(body)
    for _ in range(count):
        start = rng.randrange(len(data) + 1)
        end = min(len(data), start + rng.randrange(1, 9))
        put = {
            "over": rng.randbytes(end - start),
            "out": b"",
            "twice": bytes(data[start:end]) * 2,
            "in": b'"{[\\\xff\0',
        }
        data[start:end] = put[rng.choice(list(put))]
    return bytes(data)


def utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def header(text: str) -> bytes:
    """What can stand in a header at all: the protocol refuses control characters before anybody reads them."""
    return "".join(each for each in text if " " <= each <= "\xff" and each != "\x7f").strip().encode("latin-1")
