"""Reads chat, completion and responses requests for a small model, and writes its answers in OpenAI's shapes."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from shared.domain.schemas import ChatCompletion, JsonBody, Message, Object, Responses, TextCompletion
from workers.error_classification import bad_request
from workers.provider_interface import ProviderError

CONTEXT_TOKENS = 2048
DEFAULT_MAX_TOKENS = 256  # a small model that has lost its way goes on to the limit
MAX_PROMPTS = 16
_MAX_STOPS = 4
_USUAL_SAMPLING = {"temperature": 0.2, "top_p": 0.9}  # as the model's authors recommend
_RANGES = {"temperature": (0, 2), "top_p": (0, 1), "frequency_penalty": (-2, 2), "presence_penalty": (-2, 2)}
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_TEXT_BLOCKS = ("text", "input_text", "output_text")


class Said(NamedTuple):
    """What the model wrote, why it stopped ("stop" or "length") and the tokens it took."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


def chat_prompt(request: ChatCompletion) -> dict[str, Any]:
    _refuse(request, "tools", "logprobs", "top_logprobs", "logit_bias", "audio")
    _refuse_choices(n=request.n)
    _refuse_format("response_format", request.response_format)
    if not request.messages:
        raise bad_request("field 'messages' is missing or empty: expected at least one message")
    wanted = request.max_completion_tokens if request.max_completion_tokens is not None else request.max_tokens
    messages = [_message(f"messages[{index}]", entry) for index, entry in enumerate(request.messages)]
    return {"messages": messages, **_sampling(request, wanted)}


def completion_prompts(request: TextCompletion) -> list[dict[str, Any]]:
    _refuse(request, "suffix", "echo", "logprobs", "logit_bias")
    _refuse_choices(n=request.n, best_of=request.best_of)
    prompts = [request.prompt] if isinstance(request.prompt, str) else request.prompt or []
    if not 1 <= len(prompts) <= MAX_PROMPTS or not all(prompts):
        raise bad_request(f"field 'prompt': expected 1 to {MAX_PROMPTS} texts that are not empty")
    return [{"prompt": prompt, **_sampling(request, request.max_tokens)} for prompt in prompts]


def responses_prompt(request: Responses) -> dict[str, Any]:
    _refuse(request, "tools", "conversation", "previous_response_id", "top_logprobs")
    _refuse_format("text.format", _inside(request.text, "format"))
    if isinstance(request.input, str):
        messages = [{"role": "user", "content": request.input}]
    else:
        messages = [_item(index, entry) for index, entry in enumerate(request.input or [])]
    if not messages or not messages[-1]["content"]:
        raise bad_request("field 'input' is missing or empty: expected a text or a list of messages")
    if request.instructions:
        messages.insert(0, {"role": "system", "content": request.instructions})
    return {"messages": messages, **_sampling(request, request.max_output_tokens)}


def chat_result(model: str, id: str, said: Said) -> dict[str, Any]:
    message = {"role": "assistant", "content": said.text}
    choices = [{"index": 0, "message": message, "finish_reason": said.finish_reason}]
    return _completion("chat.completion", model, f"chatcmpl-{id}", choices, [said])


def completion_result(model: str, id: str, said: Sequence[Said]) -> dict[str, Any]:
    choices = [
        {"index": index, "text": entry.text, "finish_reason": entry.finish_reason, "logprobs": None}
        for index, entry in enumerate(said)
    ]
    return _completion("text_completion", model, f"cmpl-{id}", choices, said)


def _completion(kind: str, model: str, id: str, choices: list[dict[str, Any]], said: Sequence[Said]) -> dict[str, Any]:
    prompt = sum(entry.prompt_tokens for entry in said)
    completion = sum(entry.completion_tokens for entry in said)
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    created = int(time.time())
    return {"id": id, "object": kind, "created": created, "model": model, "choices": choices, "usage": usage}


def responses_result(model: str, id: str, said: Said) -> dict[str, Any]:
    whole = said.finish_reason != "length"
    content = {"type": "output_text", "text": said.text, "annotations": []}
    status = "completed" if whole else "incomplete"
    return {
        "id": f"resp_{id}",
        "object": "response",
        "created_at": int(time.time()),
        "model": model,
        "status": status,
        "output": [{"id": f"msg_{id}", "type": "message", "role": "assistant", "status": status, "content": [content]}],
        "usage": {
            "input_tokens": said.prompt_tokens,
            "output_tokens": said.completion_tokens,
            "total_tokens": said.prompt_tokens + said.completion_tokens,
        },
        **({} if whole else {"incomplete_details": {"reason": "max_output_tokens"}}),
    }


def _sampling(request: ChatCompletion | TextCompletion | Responses, max_tokens: int | None) -> dict[str, Any]:
    """Only plain values of known range reach the native engine: it trusts what it is given."""
    limit = DEFAULT_MAX_TOKENS if max_tokens is None else max_tokens
    if limit < 1:
        raise bad_request(f"the token limit must be at least 1, got {limit}")
    options: dict[str, Any] = {"max_tokens": min(limit, CONTEXT_TOKENS), **_USUAL_SAMPLING}
    for name, (lowest, highest) in _RANGES.items():
        value = getattr(request, name, None)
        if value is None:
            continue
        if not lowest <= value <= highest:
            raise bad_request(f"field '{name}': expected {lowest} to {highest}, got {value:g}")
        options[name] = float(value)
    seed = getattr(request, "seed", None)
    if seed is not None:
        options["seed"] = seed % 2**31
    stops = getattr(request, "stop", None) or []
    stops = [stops] if isinstance(stops, str) else stops
    if len(stops) > _MAX_STOPS or not all(stops):
        raise bad_request(f"field 'stop': expected at most {_MAX_STOPS} texts that are not empty")
    if stops:
        options["stop"] = stops
    return options


def _message(where: str, message: Message) -> dict[str, str]:
    if message.role not in _ROLES:
        raise bad_request(f"{where}: role {message.role[:40]!r} is not known to this model, it cannot call tools")
    return {"role": _ROLES[message.role], "content": _content(where, message.content)}


def _item(index: int, item: Mapping[str, msgspec.Raw]) -> dict[str, str]:
    where = f"input[{index}]"
    kind = _inside(item, "type") or "message"
    if kind != "message":
        raise bad_request(f"{where}: an item of type {str(kind)[:40]!r} is not known to this model, only messages are")
    try:
        message = msgspec.json.decode(msgspec.json.encode(item), type=Message)
    except (msgspec.MsgspecError, RecursionError):
        raise bad_request(f"{where}: expected a message with role and content") from None
    return _message(where, message)


def _content(where: str, content: str | Sequence[Mapping[str, Any]] | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    pieces: list[str] = []
    for block in content:
        kind, text = _inside(block, "type"), _inside(block, "text")
        if kind not in _TEXT_BLOCKS or not isinstance(text, str):
            raise bad_request(f"{where}: this model reads text only, got a block of type {str(kind)[:40]!r}")
        pieces.append(text)
    return "\n".join(pieces)


def _inside(value: Mapping[str, Any] | None, name: str) -> Any:
    """A field of an object that the request's schema leaves undecoded."""
    found = (value or {}).get(name)
    try:
        return msgspec.json.decode(found) if isinstance(found, msgspec.Raw) else found
    except (msgspec.DecodeError, RecursionError):
        raise bad_request(f"field '{name}' cannot be read") from None


def _refuse(request: JsonBody, *unsupported: str) -> None:
    name = next((name for name in unsupported if getattr(request, name)), None)
    if name is not None:
        raise bad_request(f"field '{name}' is not supported by this model")


def _refuse_choices(**counts: int | None) -> None:
    name = next((name for name, value in counts.items() if value not in (None, 1)), None)
    if name is not None:
        raise bad_request(f"field '{name}': this model gives one answer per prompt")


def _refuse_format(name: str, format: Object | None) -> None:
    if format and _inside(format, "type") != "text":
        raise bad_request(f"field '{name}': this model gives plain text only")


def engine_error(error: Mapping[str, Any]) -> ProviderError:
    kind = str(error.get("type"))
    if kind == "exceed_context_size_error":
        tokens = error.get("n_prompt_tokens")
        return bad_request(f"the prompt has {tokens} tokens: this model takes {CONTEXT_TOKENS} in all")
    return ProviderError(f"the model's engine refused the request ({kind[:60]})", 500, "provider_server_error")
