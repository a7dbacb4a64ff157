"""The scripted upstream as a process: it serves, counts, writes its log and stops when told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import msgspec
import pytest

from coatcheck.drill.model.requests import carried_by, make_request, marker_of
from shared.domain.content import Content
from tests.support.servers.upstream import call_of, upstream_process
from workers.provider_interface import ProviderError
from workers.providers.openai.provider import OpenAIProvider


async def test_every_call_is_in_the_log_and_in_the_counters(tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    async with upstream_process(log) as upstream:
        provider = OpenAIProvider(upstream.config(trace_calls=True))
        calls = [call_of("embedding", "latency=20", call_id=f"job-{number}/1/0") for number in range(50)]
        await asyncio.gather(*(provider.call(call) for call in calls))
        await provider.call(call_of("embedding", call_id="job-7/2/0"))
        await provider.close()
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{upstream.port}/counters") as got:
            counters = await got.json()
    assert (counters["calls"], counters["open"], counters["repeated"]) == (51, 0, 1)
    assert counters["outcomes"] == {"200": 51}
    assert counters["peak"] >= 10
    lines = [msgspec.json.decode(line) for line in log.read_bytes().splitlines()]
    assert sorted(line["call"] for line in lines) == sorted([*(call.call_id for call in calls), "job-7/2/0"])
    assert [line["call"] for line in lines if line["repeated"]] == ["job-7/2/0"]


async def test_the_answer_and_the_error_say_for_whose_request_they_are(tmp_path: Path) -> None:
    marker = marker_of("7-123", 4)
    async with upstream_process(tmp_path / "calls.jsonl") as upstream:
        provider = OpenAIProvider(upstream.config())
        answered, failed = (
            call_of(model=model, content=Content("json", make_request("chat", "p/m", marker).body))
            for model in ("m", "status=400")
        )
        assert carried_by((await provider.call(answered)).body) == marker
        with pytest.raises(ProviderError, match=marker):
            await provider.call(failed)
        await provider.close()
