"""What every provider does: one suite for the one that plays scripts here and for the HTTP one before the upstream."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from shared.domain.catalogue import CATALOGUE
from shared.domain.content import Content
from shared.domain.target import Target
from tests.support.servers.upstream import call_of, running_upstream
from workers.provider_interface import Call, Provider, ProviderError
from workers.providers.openai.provider import OpenAIProvider
from workers.providers.scripted.provider import ScriptedProvider
from workers.result_shapes import shape_result

LIMIT = 4 * 1024 * 1024
TYPES = [endpoint.request_type for endpoint in CATALOGUE]


@pytest.fixture(params=["in_process", "http"])
async def provider(request: pytest.FixtureRequest) -> AsyncIterator[Provider]:
    if request.param == "in_process":
        yield ScriptedProvider(max_body_bytes=LIMIT)
        return
    async with running_upstream() as upstream:
        provider = OpenAIProvider(upstream.config(trace_calls=True), max_body_bytes=LIMIT)
        yield provider
        await provider.close()


async def result_of(provider: Provider, call: Call) -> dict[str, Any]:
    answer = await provider.call(call)
    target = Target("up", call.model)
    shaped = shape_result(call.request_type, answer, target, model_requested="asked", latency_ms=12)
    decoded: dict[str, Any] = msgspec.json.decode(shaped)
    return decoded


async def failure_of(provider: Provider, call: Call) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await provider.call(call)
    return caught.value


@pytest.mark.parametrize("request_type", TYPES)
async def test_every_result_says_who_answered(provider: Provider, request_type: str) -> None:
    result = await result_of(provider, call_of(request_type, "gpt-x"))
    assert result["extra_fields"] == {
        "request_type": request_type,
        "provider": "up",
        "model_requested": "asked",
        "original_model_requested": "asked",
        "resolved_model_used": "gpt-x",
        "latency": 12,
        "chunk_index": 0,
    }


async def test_a_text_completion_has_no_created(provider: Provider) -> None:
    result = await result_of(provider, call_of("text_completion", "m"))
    assert result["object"] == "text_completion"
    assert "Name one river." in result["choices"][0]["text"]
    assert result["system_fingerprint"] == ""
    assert "created" not in result


async def test_a_chat_completion_answers_the_last_message(provider: Provider) -> None:
    result = await result_of(provider, call_of("chat_completion", "m"))
    assert result["model"] == "m"
    assert "Give me a colour." in result["choices"][0]["message"]["content"]
    assert result["usage"]["total_tokens"] == 21


async def test_a_response_is_completed_whatever_background_says(provider: Provider) -> None:
    result = await result_of(provider, call_of("responses", "m"))
    assert result["status"] == "completed"
    assert "Give me a fruit." in result["output"][0]["content"][0]["text"]


async def test_every_input_gets_its_own_vector(provider: Provider) -> None:
    result = await result_of(provider, call_of("embedding", "m"))
    first, second = result["data"]
    assert (first["index"], second["index"]) == (0, 1)
    assert first["embedding"] != second["embedding"]


async def test_speech_comes_back_as_base64(provider: Provider) -> None:
    result = await result_of(provider, call_of("speech", "size=5000"))
    audio = base64.b64decode(result["audio"])
    assert audio.startswith(b"RIFF")
    assert len(audio) == 5000
    assert result["usage"] == {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}


async def test_a_transcription_gets_the_whole_file(provider: Provider) -> None:
    result = await result_of(provider, call_of("transcription", "m"))
    assert "10240 bytes of sound" in result["text"]


async def test_a_plain_text_transcription_is_still_an_object(provider: Provider) -> None:
    content = _form_with(call_of("transcription").content, b"response_format", b"vtt")
    result = await result_of(provider, call_of("transcription", "m", content=content))
    assert "bytes of sound" in result["text"]


@pytest.mark.parametrize("request_type", ["image_generation", "image_edit", "image_variation"])
async def test_images_are_numbered_and_name_their_model(provider: Provider, request_type: str) -> None:
    result = await result_of(provider, call_of(request_type, "m"))
    assert [image["index"] for image in result["data"]] == list(range(len(result["data"])))
    assert result["model"] == "m"
    assert base64.b64decode(result["data"][0]["b64_json"]).startswith(b"\x89PNG")


async def test_rerank_scores_point_at_the_submitted_documents(provider: Provider) -> None:
    result = await result_of(provider, call_of("rerank", "m"))
    assert sorted(entry["index"] for entry in result["results"]) == [0, 1]
    assert all(0 <= entry["relevance_score"] <= 1 for entry in result["results"])


async def test_ocr_gives_pages(provider: Provider) -> None:
    result = await result_of(provider, call_of("ocr", "m"))
    assert result["pages"][0]["index"] == 0
    assert result["usage_info"] == {"pages_processed": 1, "doc_size_bytes": 1234}


STATUSES = {
    400: ("caller_invalid_request", False),
    401: ("provider_auth_failed", False),
    402: ("provider_billing", False),
    403: ("provider_auth_failed", False),
    404: ("caller_model_unknown", False),
    408: ("provider_timeout", True),
    409: ("provider_overloaded", True),
    418: ("_OTHER", False),
    422: ("caller_invalid_request", False),
    425: ("provider_overloaded", True),
    429: ("provider_rate_limited", True),
    500: ("provider_server_error", True),
    502: ("provider_server_error", True),
    503: ("provider_overloaded", True),
    504: ("provider_timeout", True),
    529: ("provider_overloaded", True),
}


@pytest.mark.parametrize("status", STATUSES)
async def test_a_failure_keeps_status_code_and_words(provider: Provider, status: int) -> None:
    error = await failure_of(provider, call_of(model=f"status={status}"))
    assert (error.error_type, error.retryable) == STATUSES[status]
    assert error.status_code == status
    assert error.code == f"scripted_{status}"
    assert error.message == f"scripted failure {status}"


async def test_a_redirect_is_not_followed(provider: Provider) -> None:
    error = await failure_of(provider, call_of(model="status=307"))
    assert (error.status_code, error.retryable) == (502, False)


async def test_retry_after_comes_with_the_error(provider: Provider) -> None:
    error = await failure_of(provider, call_of(model="status=429,retry_after=2.5"))
    assert error.retry_after == 2.5


MODES = {
    "reset": (502, "provider_connection_failed", True),
    "cut": (502, "provider_connection_failed", True),
    "truncate": (502, "provider_server_error", True),
    "html": (502, "provider_server_error", True),
    "page": (502, "provider_server_error", True),
    "error200": (502, "provider_server_error", True),
    "bomb": (502, "provider_server_error", False),
    "huge": (502, "provider_server_error", False),
}


@pytest.mark.parametrize("mode", MODES)
async def test_no_broken_answer_becomes_a_result(provider: Provider, mode: str) -> None:
    error = await failure_of(provider, call_of(model=f"mode={mode}"))
    assert (error.status_code, error.error_type, error.retryable) == MODES[mode]


@pytest.mark.parametrize("mode", ["hang", "drip"])
async def test_a_silent_or_dripping_provider_ends_in_time(provider: Provider, mode: str) -> None:
    started = time.monotonic()
    error = await failure_of(provider, call_of(model=f"mode={mode}", seconds=0.5))
    assert (error.status_code, error.type, error.retryable) == (504, "request_timed_out", True)
    assert time.monotonic() - started < 2


async def test_latency_counts_against_the_time_of_the_call(provider: Provider) -> None:
    error = await failure_of(provider, call_of(model="latency=5000", seconds=0.2))
    assert error.status_code == 504


async def test_the_first_claims_of_a_job_fail_and_the_next_succeeds(provider: Provider) -> None:
    for claim in (1, 2):
        assert (await failure_of(provider, call_of(model="first=2", call_id=f"j/{claim}/0"))).status_code == 500
    assert (await provider.call(call_of(model="first=2", call_id="j/3/0"))).body


async def test_a_storm_of_429_ends_when_the_script_says(provider: Provider) -> None:
    assert (await failure_of(provider, call_of(model=f"until={time.time() + 60}"))).status_code == 429
    assert (await provider.call(call_of(model=f"until={time.time() - 1}"))).body


async def test_a_share_of_calls_fails_and_each_one_always_or_never(provider: Provider) -> None:
    async def outcome(number: int) -> bool:
        try:
            await provider.call(call_of(model="fail=0.3,seed=5", call_id=f"j{number}/1/0"))
        except ProviderError:
            return False
        return True

    first = await asyncio.gather(*(outcome(number) for number in range(100)))
    second = await asyncio.gather(*(outcome(number) for number in range(100)))
    assert first == second
    assert 50 < sum(first) < 90


async def test_a_script_that_makes_no_sense_is_a_bad_request(provider: Provider) -> None:
    error = await failure_of(provider, call_of(model="latncy=5"))
    assert (error.status_code, error.retryable) == (400, False)
    assert "did you mean 'latency'" in error.message


async def test_a_call_that_is_cancelled_at_any_of_its_steps_raises_nothing_else(provider: Provider) -> None:
    for steps in range(20):
        task = asyncio.create_task(provider.call(call_of(model="mode=hang")))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (await provider.call(call_of())).body


async def test_close_is_safe_twice(provider: Provider) -> None:
    await provider.call(call_of())
    await provider.close()
    await provider.close()


def _form_with(content: Content, name: bytes, value: bytes) -> Content:
    """The same form with one more text part at its beginning."""
    boundary = content.data.partition(b"\r\n")[0]
    part = boundary + b'\r\nContent-Disposition: form-data; name="' + name + b'"\r\n\r\n' + value + b"\r\n"
    return Content("multipart", part + content.data, content.content_type)
