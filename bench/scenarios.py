"""What is asked of the stacks: closed loops by time, so that a slow stack takes no longer than a fast one."""

from __future__ import annotations

import base64
import json

from bench.loadgen import Asked, embedding
from bench.measure import Scenario

POLL = "100ms"
"""Between polls in the throughput scenarios: clients that wait for many results do not ask every 10 ms."""

SLOW = [embedding("latency=100")]
WARM_UP = Scenario("warm-up", {"mode": "result", "callers": 256, "jobs": 1500, "poll": POLL})
STORM = "poll storm, 64 connections"
RESULT_0 = "to result, 500 in flight, upstream 0 ms"
RESULT_100 = "to result, 500 in flight, upstream 100 ms"
NUMBERS = (1536, 3072)
"""In the vectors of common embedding models: with all their digits 32 and 64 KB of JSON."""
RESULT_2S = "to result, 2000 in flight, upstream 2 s"
RATE_100 = "100 a second, upstream 100 ms, polled every 10 ms"
SUBMIT = "submit, 128 callers"
SUBMIT_NO_BROKER = "submit, 128 callers, broker killed"
MIXED = "1 submit : 5 polls, 128 callers"
LARGE = "1 MB embeddings batches, 16 in flight"
AUDIO = "10 MB audio, 8 in flight"
ENDPOINTS = "11 endpoints, 200 in flight"
FAILING = "to result, 500 in flight, upstream fails 10 %"
EXPIRING = "submit, 128 callers, while they expire"
MANY = 1_000_000
"""Jobs of the longest studies."""


def vectors(numbers: int) -> str:
    """The name of the load whose every result is a vector of so many numbers."""
    return f"to result, 500 in flight, {numbers:,} numbers"


def stored(jobs: int, scenario: str) -> str:
    """The name of a load beside so many stored jobs."""
    return f"{jobs} stored: {scenario}"


def drain_of(jobs: int) -> str:
    """The name of a backlog worked off."""
    return f"drain {jobs}"


def memory_over(jobs: int) -> str:
    """The name of the study of memory over so many jobs."""
    return f"memory over {jobs} jobs"


def to_result(callers: int, seconds: float) -> dict[str, object]:
    """Flags of a closed loop of jobs."""
    return {"mode": "result", "callers": callers, "jobs": 0, "period": f"{seconds}s", "poll": POLL}


def side_by_side(seconds: float, *, callers: int = 500, more: bool = False) -> list[Scenario]:
    """Those that are measured for every stack, in this order; the submits leave a backlog and come last."""
    storm = {"mode": "storm", "callers": 64, "period": f"{seconds}s"}
    stored = {"mode": "result", "callers": 64, "jobs": 200, "poll": POLL}
    arrivals = {"mode": "result", "rate": 100, "jobs": int(seconds * 150), "poll": "10ms", "callers": 128}
    some = [
        Scenario(STORM, storm, first=stored),
        Scenario(RESULT_0, to_result(callers, seconds), batched=[embedding(provider="batching")]),
        Scenario(
            RESULT_100, to_result(callers, seconds), SLOW, batched=[embedding("latency=100", provider="batching")]
        ),
        Scenario(RATE_100, arrivals, SLOW),
        *(
            Scenario(vectors(numbers), to_result(callers, seconds), [embedding(f"numbers={numbers}")])
            for numbers in NUMBERS
        ),
    ]
    submit = Scenario(SUBMIT, {"mode": "submit", "callers": 128, "jobs": 0, "period": f"{seconds}s"})
    return [*some, *(_more(seconds) if more else []), submit]


def _more(seconds: float) -> list[Scenario]:
    mixed = {"mode": "mixed", "callers": 128, "jobs": 0, "period": f"{seconds}s"}
    return [
        Scenario(RESULT_2S, to_result(2000, seconds), [embedding("latency=2000")]),
        Scenario(FAILING, to_result(500, seconds), [embedding("fail=0.1")]),
        Scenario(MIXED, mixed),
        Scenario(LARGE, to_result(16, seconds), [_large()]),
        Scenario(AUDIO, to_result(8, seconds), [_form("transcriptions", 10_000_000)], product_only=True),
        Scenario(ENDPOINTS, to_result(200, seconds), _all_endpoints(), product_only=True),
    ]


def _large() -> Asked:
    """A batch of inputs, 1 MB in all."""
    inputs = ["{n} first", *("the cat sat on the mat " * 20 for _ in range(2170))]
    return Asked("/v1/async/embeddings", json.dumps({"model": "upstream/fast", "input": inputs}).encode())


def _form(kind: str, size: int) -> Asked:
    part = 'Content-Disposition: form-data; name="{}"{}\r\n\r\n'
    model = "--edge\r\n" + part.format("model", "") + "upstream/fast\r\n"
    file = "--edge\r\n" + part.format("file", '; filename="a.wav"') + "RIFF{n}" + "x" * size + "\r\n--edge--\r\n"
    return Asked(f"/v1/async/audio/{kind}", (model + file).encode(), "multipart/form-data; boundary=edge")


def _image_form(kind: str) -> Asked:
    part = 'Content-Disposition: form-data; name="{}"{}\r\n\r\n'
    fields = {"model": "upstream/fast", "prompt": "{n} a cat"} if kind == "edits" else {"model": "upstream/fast"}
    text = "".join(f"--edge\r\n{part.format(name, '')}{value}\r\n" for name, value in fields.items())
    png = base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    )
    head = "--edge\r\n" + part.format("image", '; filename="a.png"')
    file = head.encode() + png + b"\r\n--edge--\r\n"
    return Asked(f"/v1/async/images/{kind}", text.encode() + file, "multipart/form-data; boundary=edge")


def _all_endpoints() -> list[Asked]:
    chat = [{"role": "user", "content": "{n} hello"}]
    document = {"type": "document_url", "document_url": "https://example.org/a.pdf"}
    bodies: dict[str, dict[str, object]] = {
        "chat/completions": {"messages": chat},
        "completions": {"prompt": "{n} hello"},
        "responses": {"input": "{n} hello"},
        "embeddings": {"input": "{n} hello"},
        "audio/speech": {"input": "{n} hello", "voice": "alloy"},
        "images/generations": {"prompt": "{n} a cat"},
        "rerank": {"query": "{n} a cat", "documents": [{"text": "a cat"}, {"text": "a dog"}]},
        "ocr": {"document": document},
    }
    asked = [
        Asked(f"/v1/async/{path}", json.dumps({"model": "upstream/fast", **body}).encode())
        for path, body in bodies.items()
    ]
    return [*asked, _form("transcriptions", 20_000), _image_form("edits"), _image_form("variations")]
