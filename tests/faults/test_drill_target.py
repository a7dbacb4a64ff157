"""`coatcheck drill --target`: somebody's own installation, of which a worker is killed meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from coatcheck.drill.stack.cluster import Cluster, Setup
from coatcheck.drill.upstream.server import start_upstream

WAIT_SECONDS = 120


@pytest.fixture
def setup() -> Setup:
    return Setup()


@pytest.fixture
async def installation(tmp_path: Path, setup: Setup) -> AsyncIterator[Cluster]:
    server, port, _ = await start_upstream()
    cluster = Cluster(tmp_path, setup, port)
    try:
        await cluster.open()
        await cluster.start(print)
        yield cluster
    finally:
        await cluster.stop()
        cluster.kill_all()
        server.close()


async def target(url: str, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "coatcheck.cli.main", "drill", "--target", url, *arguments,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith("COATCHECK_")},
    )  # fmt: skip


async def test_it_judges_an_installation_of_which_a_worker_is_killed_and_says_what_it_cannot_see(
    installation: Cluster,
) -> None:
    load = ["--jobs", "100", "--seconds", "6", "--model", "upstream/latency={latency}", "--json"]
    process = await target(installation.urls[0], *load)
    assert process.stderr is not None
    async with asyncio.timeout(WAIT_SECONDS):
        while b"accepted" not in await process.stderr.readline():
            pass
        worker = installation.nodes["worker"][0]
        worker.kill()
        await worker.start_again()
        out, errors = await process.communicate()
    assert process.returncode == 0, errors
    report: dict[str, Any] = json.loads(out)
    assert (report["accepted"], report["ended"], report["completed"]) == (100, 100, 100)
    assert [report[name] for name in ("lost", "stuck", "changed", "wrong", "doubled")] == [0] * 5
    assert "provider got twice" in report["unseen"]
    assert "repeated_calls" not in report  # a zero would claim what nobody has looked at

    refused = await target(installation.urls[0], "--model", "nobody/nothing")
    _, errors = await asyncio.wait_for(refused.communicate(), WAIT_SECONDS)
    assert refused.returncode == 1
    assert b"refuses the load: 400" in errors


@pytest.mark.parametrize(
    "setup", [Setup(commands={"worker": [sys.executable, "-m", "tests.sabotage", "exchanged_bodies"]})]
)
async def test_it_sees_from_outside_that_jobs_got_the_answers_of_others(installation: Cluster) -> None:
    load = ["--jobs", "300", "--seconds", "3", "--model", "upstream/latency={latency}", "--json"]
    process = await target(installation.urls[0], *load)
    out, errors = await asyncio.wait_for(process.communicate(), WAIT_SECONDS)
    assert process.returncode == 1, errors
    report: dict[str, Any] = json.loads(out)
    assert report["wrong"] > 0
    assert [report[name] for name in ("lost", "stuck", "changed", "doubled")] == [0] * 4
