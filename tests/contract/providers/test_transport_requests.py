"""The HTTP exchange: what goes over the wire, and to which path."""

from __future__ import annotations

from typing import Any

import pytest

from shared.domain.catalogue import CATALOGUE
from shared.domain.form import parse_form
from tests.contract.providers.transport_providers import CHAT, KEY, ProviderAt, failure_of
from tests.support.servers.canned import canned, http
from tests.support.servers.upstream import FORM_PARTS, call_of


async def test_what_goes_over_the_wire(provider_at: ProviderAt) -> None:
    async with canned(http(CHAT, "x-request-id: req-7")) as server:
        provider = provider_at(server.port, api_key=KEY, headers={"X-Org": "mine"})
        forward = {"openai-project": "p1", "authorization": "Bearer evil", "host": "evil", "content-length": "1"}
        answer = await provider.call(call_of(forward=forward))
        ((head, body),) = server.requests
        lines = head.decode().lower().split("\r\n")
        assert lines[0] == "post /v1/chat/completions http/1.1"
        assert lines.count(f"authorization: bearer {KEY}") == 1
        assert lines.count(f"host: 127.0.0.1:{server.port}") == 1
        assert lines.count(f"content-length: {len(body)}") == 1
        assert {"x-org: mine", "openai-project: p1", "content-type: application/json"} <= set(lines)
        assert "evil" not in head.decode()
        assert "job-1" not in head.decode()
        assert b"expect" not in head.lower()
        assert answer.upstream_request_id == "req-7"


async def test_a_client_cannot_break_into_the_head_of_a_request(provider_at: ProviderAt) -> None:
    async with canned(http(CHAT)) as server:
        provider = provider_at(server.port)
        await provider.call(call_of(forward={"x-a": "1\r\nx-evil: 1", "x-b\r\nx-evil": "1", "x-c": "é", "": "1"}))
        assert b"evil" not in server.requests[0][0]


@pytest.mark.parametrize("request_type", sorted(FORM_PARTS))
async def test_uploads_reach_the_provider_byte_for_byte(request_type: str, provider_at: ProviderAt) -> None:
    answer = b'{"text":"t"}' if request_type == "transcription" else b'{"data":[]}'
    async with canned(http(answer)) as server:
        provider = provider_at(server.port)
        await provider.call(call_of(request_type, "whisper"))
        ((head, body),) = server.requests
        content_type = next(
            line[14:] for line in head.decode().split("\r\n") if line.lower().startswith("content-type")
        )
        parts = parse_form(body, content_type).parts
        assert parts[1:] == FORM_PARTS[request_type]
        assert parts[0].data == b"whisper"


@pytest.mark.parametrize("endpoint", CATALOGUE, ids=lambda endpoint: endpoint.request_type)
async def test_every_type_has_its_path_unless_configured_otherwise(endpoint: Any, provider_at: ProviderAt) -> None:
    async with canned(http(b"", status="404 No")) as server:
        elsewhere = {endpoint.request_type: "/other/path"}
        for paths, expected in (({}, f"/v1{endpoint.upstream_path}"), (elsewhere, "/v1/other/path")):
            provider = provider_at(server.port, paths=paths)
            await failure_of(provider, call_of(endpoint.request_type))
            assert server.requests[-1][0].startswith(f"POST {expected} HTTP/1.1\r\n".encode())


def test_a_whole_url_may_stand_for_a_path(provider_at: ProviderAt) -> None:
    provider = provider_at(1, paths={"rerank": "https://elsewhere/v2/rerank"})
    assert str(provider._urls["rerank"]) == "https://elsewhere/v2/rerank"
