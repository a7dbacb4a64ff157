"""OpenAI and every server that speaks its API: all request types, over HTTP."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

import httpx

from shared.domain.catalogue import BY_TYPE
from shared.providers.config import ProviderConfig
from workers import error_classification
from workers.answer_memory_budget import AnswerMemory
from workers.provider_interface import Answer, Call, ProviderError
from workers.providers.openai import answer_checks, request_bodies, rerank_answers
from workers.providers.openai.request_headers import call_headers, fixed_headers, secrets_of
from workers.providers.transport.exchange import Reply, Transport

_log = logging.getLogger(__name__)
_REQUEST_ID_HEADERS = ("x-request-id", "request-id", "x-amzn-requestid", "cf-ray")


class OpenAIProvider:
    """One configured provider. Connections open at the first call and are kept for the next."""

    def __init__(
        self, config: ProviderConfig, *, max_body_bytes: int = 64 * 1024 * 1024, memory: AnswerMemory | None = None
    ) -> None:
        self._config = config
        self._headers = fixed_headers(config)
        self._secrets = secrets_of(config)
        self._urls = {kind: httpx.URL(_url(config, kind)) for kind in BY_TYPE}
        self.transport = Transport(config, max_body_bytes=max_body_bytes, memory=memory)

    async def call(self, call: Call) -> Answer:
        try:
            return await self._call(call)
        except ProviderError:
            raise
        except Exception as error:
            _log.exception("provider call failed in an unforeseen way", extra={"provider": self._config.name})
            raise error_classification.internal(f"the call to the provider failed: {type(error).__name__}") from error

    async def close(self) -> None:
        await self.transport.close()

    async def _call(self, call: Call) -> Answer:
        content_type, body = request_bodies.build(call, self._config.name)
        headers = call_headers(self._headers, call.forward, content_type, call.call_id, trace=self._config.trace_calls)
        seconds = min(call.timeout, self._config.timeout_seconds)
        reply = await self.transport.send("POST", self._urls[call.request_type], headers, body, seconds)
        return self._answer(call, reply)

    def _answer(self, call: Call, reply: Reply) -> Answer:
        if reply.status not in (200, 201):
            raise error_classification.from_answer(reply.status, reply.body, reply.headers, self._secrets)
        media_type = reply.headers.get("content-type") or _look_of(reply.body)
        body = self._uniform_rerank(call, reply, media_type) if call.request_type == "rerank" else reply.body
        fields = answer_checks.require_answer(call.request_type, media_type, body, self._secrets)
        return Answer(body, media_type, _request_id(reply.headers, self._secrets), fields)

    def _uniform_rerank(self, call: Call, reply: Reply, media_type: str) -> bytes:
        try:
            return rerank_answers.uniform_rerank(reply.body, call.content.data)
        except (ValueError, RecursionError) as error:
            answer_checks.require_answer("rerank", media_type, reply.body, self._secrets)  # it may be an error in words
            raise error_classification.bad_answer(f"not the JSON of rerank: {error}") from None


def _url(config: ProviderConfig, request_type: str) -> str:
    path = config.paths.get(request_type, BY_TYPE[request_type].upstream_path)
    return path if path.startswith(("http://", "https://")) else f"{config.base_url}/{path.lstrip('/')}"


def _look_of(body: bytes) -> str:
    return "application/json" if body.lstrip()[:1] in (b"{", b"[") else "application/octet-stream"


def _request_id(headers: Mapping[str, str], secrets: Collection[str]) -> str:
    found = next((headers[name] for name in _REQUEST_ID_HEADERS if name in headers), "")
    return error_classification.redact(found, secrets)[:128]
