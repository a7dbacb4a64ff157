"""Chat, completion and responses requests for the small model: what reaches the engine, and what comes back."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.schemas import ChatCompletion, Responses, TextCompletion
from tests.unit.workers.local_models.calls import json_task
from workers.local_models.requests.chat import (
    Said,
    chat_prompt,
    chat_result,
    completion_prompts,
    completion_result,
    engine_error,
    responses_prompt,
    responses_result,
)
from workers.provider_interface import ProviderError

HELLO = [{"role": "user", "content": "Hello."}]


def chat(**fields: Any) -> dict[str, Any]:
    return chat_prompt(json_task("chat_completion", {"messages": HELLO, **fields}).json(ChatCompletion))


def completions(**fields: Any) -> list[dict[str, Any]]:
    return completion_prompts(json_task("text_completion", {"prompt": "The sky", **fields}).json(TextCompletion))


def responses(**fields: Any) -> dict[str, Any]:
    return responses_prompt(json_task("responses", {"input": "Hello.", **fields}).json(Responses))


def complaint(function: Any, **fields: Any) -> str:
    with pytest.raises(ProviderError) as caught:
        function(**fields)
    assert (caught.value.status_code, caught.value.retryable) == (400, False)
    return caught.value.message


def test_a_chat_has_a_bound_on_its_tokens_even_when_none_is_asked_for() -> None:
    assert chat() == {"messages": HELLO, "max_tokens": 256, "temperature": 0.2, "top_p": 0.9}


def test_roles_and_blocks_become_what_the_engine_knows() -> None:
    messages = [
        {"role": "developer", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "Two"}]},
        {"role": "assistant", "content": None},
        {"role": "user", "content": "Three", "name": "eve"},
    ]
    assert chat(messages=messages)["messages"] == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "One\nTwo"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "Three"},
    ]


def test_sampling_reaches_the_engine() -> None:
    prompt = chat(max_tokens=7, temperature=0, top_p=0.5, seed=2**70 + 3, stop="\n", presence_penalty=-1)
    del prompt["messages"]
    assert prompt == {
        "max_tokens": 7,
        "temperature": 0.0,
        "top_p": 0.5,
        "seed": 3,
        "stop": ["\n"],
        "presence_penalty": -1.0,
    }


def test_the_newer_name_of_the_token_limit_wins() -> None:
    assert chat(max_tokens=7, max_completion_tokens=9)["max_tokens"] == 9


def test_nothing_asks_the_engine_for_more_than_its_context() -> None:
    assert chat(max_tokens=10**9)["max_tokens"] == 2048


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"messages": []}, ["messages"]),
        ({"messages": [{"role": "tool", "content": "4"}]}, ["messages[0]", "'tool'"]),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, ["text only", "'image_url'"]),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 4}]}]}, ["text only"]),
        ({"tools": [{"type": "function"}]}, ["tools"]),
        ({"logprobs": True}, ["logprobs"]),
        ({"n": 2}, ["'n'", "one answer"]),
        ({"response_format": {"type": "json_object"}}, ["response_format", "plain text"]),
        ({"temperature": 2.5}, ["temperature", "0 to 2", "2.5"]),
        ({"top_p": -0.1}, ["top_p"]),
        ({"max_tokens": 0}, ["at least 1"]),
        ({"stop": ["a", "b", "c", "d", "e"]}, ["stop", "at most 4"]),
        ({"stop": [""]}, ["stop"]),
    ],
)
def test_what_the_model_cannot_do_is_named(fields: dict[str, Any], words: list[str]) -> None:
    message = complaint(chat, **fields)
    assert all(word in message for word in words), message


def test_what_changes_nothing_is_let_through() -> None:
    assert chat(n=1, tools=[], logprobs=False, response_format={"type": "text"}, user="eve", store=True) == chat()


def test_each_prompt_is_completed_apart() -> None:
    assert [(entry["prompt"], entry["max_tokens"]) for entry in completions(prompt=["a", "b"], max_tokens=5)] == [
        ("a", 5),
        ("b", 5),
    ]


@pytest.mark.parametrize(
    "fields", [{"prompt": []}, {"prompt": ""}, {"prompt": ["a"] * 17}, {"suffix": "x"}, {"echo": True}, {"best_of": 2}]
)
def test_a_completion_that_cannot_be_done_is_refused(fields: dict[str, Any]) -> None:
    complaint(completions, **fields)


def test_instructions_come_before_the_input() -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "A fruit?"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Plum"}]},
        {"role": "user", "content": "Another?"},
    ]
    prompt = responses(input=items, instructions="Be short.", max_output_tokens=4)
    assert prompt["max_tokens"] == 4
    assert prompt["messages"] == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "A fruit?"},
        {"role": "assistant", "content": "Plum"},
        {"role": "user", "content": "Another?"},
    ]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"input": []}, ["input"]),
        ({"input": ""}, ["input"]),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, ["input[0]", "'function_call_output'"]),
        ({"input": [{"role": 3}]}, ["input[0]"]),
        ({"previous_response_id": "resp_1"}, ["previous_response_id"]),
        ({"tools": [{"type": "web_search"}]}, ["tools"]),
        ({"text": {"format": {"type": "json_schema"}}}, ["text.format"]),
    ],
)
def test_a_response_that_cannot_be_given_is_named(fields: dict[str, Any], words: list[str]) -> None:
    message = complaint(responses, **fields)
    assert all(word in message for word in words), message


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.lists(st.dictionaries(st.sampled_from(["type", "role", "content", "text"]), json_values, max_size=4), max_size=4)
)
def test_any_items_give_a_prompt_or_a_clear_error(items: list[dict[str, Any]]) -> None:
    try:
        prompt = responses(input=items)
    except ProviderError as error:
        assert error.status_code == 400
    else:
        assert all(isinstance(message["content"], str) for message in prompt["messages"])


def test_a_chat_result_has_the_shape_of_the_api() -> None:
    result = chat_result("m", "1", Said("Teal", "stop", 11, 2))
    assert isinstance(result.pop("created"), int)
    assert result == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Teal"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 2, "total_tokens": 13},
    }


def test_a_completion_result_adds_up_its_prompts() -> None:
    result = completion_result("m", "1", [Said(" a", "stop", 1, 2), Said(" b", "length", 3, 4)])
    assert [(choice["index"], choice["text"], choice["finish_reason"]) for choice in result["choices"]] == [
        (0, " a", "stop"),
        (1, " b", "length"),
    ]
    assert result["usage"] == {"prompt_tokens": 4, "completion_tokens": 6, "total_tokens": 10}


def test_a_response_that_was_cut_says_so() -> None:
    whole = responses_result("m", "1", Said("Plum", "stop", 12, 2))
    assert (whole["status"], whole["output"][0]["content"][0]["text"]) == ("completed", "Plum")
    assert whole["usage"] == {"input_tokens": 12, "output_tokens": 2, "total_tokens": 14}
    assert "incomplete_details" not in whole
    cut = responses_result("m", "1", Said("Pl", "length", 12, 1))
    assert (cut["status"], cut["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})


def test_a_prompt_beyond_the_context_is_the_callers_error() -> None:
    error = engine_error({"type": "exceed_context_size_error", "n_prompt_tokens": 5031, "message": "secret prompt"})
    assert (error.status_code, error.retryable) == (400, False)
    assert "5031" in error.message
    assert "2048" in error.message


def test_what_else_the_engine_says_is_not_quoted() -> None:
    error = engine_error({"type": "server_error", "message": "secret prompt"})
    assert error.status_code == 500
    assert "secret" not in error.message


def test_results_can_be_encoded() -> None:
    assert msgspec.json.encode(responses_result("m", "1", Said("", "stop", 0, 0)))
