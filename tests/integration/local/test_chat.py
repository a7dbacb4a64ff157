"""The chat demo, run for real."""

import time
from typing import Any

from tests.integration.local.sent import failure_of, run_python
from tests.unit.workers.local_models.calls import decoded, json_call
from workers.local_models.provider import LocalProvider


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
from workers.local_models.engines import smollm
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
