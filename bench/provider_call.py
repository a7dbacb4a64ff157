"""CPU of one provider call: `python -m bench.provider_call`. The scripted upstream runs in a process of its own.

Four ways are compared in turn, several rounds each, and the least is printed: what else runs only adds.
"""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import aiohttp
import click
import httpx
import uvloop

from shared.domain.content import Content
from shared.providers.config import configured
from workers.provider_interface import Call
from workers.providers.openai import request_bodies
from workers.providers.openai.provider import OpenAIProvider
from workers.providers.openai.request_headers import call_headers, fixed_headers
from workers.providers.transport.exchange import tls_context
from workers.providers.transport.proxied import proxied

BODY = b'{"model":"up/m","input":"the cat sat on the mat"}'
Way = Callable[[Call], Awaitable[object]]


def call(number: int) -> Call:
    """One embedding call."""
    return Call("embedding", "m", Content("json", BODY), {}, False, 30.0, f"job-{number}/1/0")


async def measure(way: Way, calls: int, at_a_time: int) -> float:
    """Microseconds of this process's CPU per call."""

    async def one_after_the_other(first: int) -> None:
        for number in range(first, calls, at_a_time):
            await way(call(number))

    async def all_of_them() -> None:
        await asyncio.gather(*(one_after_the_other(first) for first in range(at_a_time)))

    await all_of_them()
    gc.collect()
    started = time.process_time()
    await all_of_them()
    return (time.process_time() - started) / calls * 1e6


async def compare(port: int, calls: int, at_a_time: int, rounds: int) -> dict[str, float]:
    """The least of several rounds for each way."""
    config = configured({"up": {"base_url": f"http://127.0.0.1:{port}"}}, {})["up"]
    provider, through_aiohttp = OpenAIProvider(config), OpenAIProvider(config)
    through_aiohttp.transport.http, _ = proxied(config, tls_context(""))
    url = f"{config.base_url}/embeddings"
    client = httpx.AsyncClient(transport=provider.transport.http, trust_env=False, timeout=None)
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=at_a_time))

    def parts(made: Call) -> tuple[bytes, list[tuple[str, str]]]:
        content_type, body = request_bodies.build(made, "up")
        return body, call_headers(fixed_headers(config), {}, content_type, made.call_id, trace=False)

    async def by_client(made: Call) -> None:
        body, headers = parts(made)
        async with asyncio.timeout(30):
            await client.post(url, content=body, headers=headers)

    async def by_aiohttp(made: Call) -> None:
        body, headers = parts(made)
        async with asyncio.timeout(30), session.post(url, data=body, headers=headers) as response:
            await response.read()

    ways: dict[str, Way] = {
        "as built": provider.call,
        "through aiohttp": through_aiohttp.call,
        "httpx.AsyncClient": by_client,
        "aiohttp alone": by_aiohttp,
    }
    least = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            least[name] = min(least[name], await measure(way, calls, at_a_time))
    await session.close()
    await provider.close()
    await through_aiohttp.close()
    return least


@click.command()
@click.option("--calls", default=5000, show_default=True, help="Calls of one round.")
@click.option("--at-a-time", default=100, show_default=True, help="Calls in flight.")
@click.option("--rounds", default=4, show_default=True, help="Rounds of each way.")
def main(calls: int, at_a_time: int, rounds: int) -> None:
    """Print the CPU of a provider call, made in four ways."""
    command = [sys.executable, "-m", "coatcheck.drill.upstream.server", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as upstream:
        assert upstream.stdout is not None
        try:
            port = int(upstream.stdout.readline())
            for name, microseconds in uvloop.run(compare(port, calls, at_a_time, rounds)).items():
                click.echo(f"{name:20} {microseconds:6.0f} us a call")
        finally:
            upstream.terminate()


if __name__ == "__main__":
    main()
