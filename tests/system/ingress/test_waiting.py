"""Clients that wait for a job on the real edge and hang up: whoever comes after them finds their places free."""

from __future__ import annotations

import json
import select
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ingress.edge import EdgeProcess
from tests.support.ingress.server import head, post, until
from tests.support.servers.mongod import MongodSet

PLACES = 3
CALL = post(b'{"model":"openai/m","input":"a text"}', target="/openai/v1/responses")
SUBMIT = post(b'{"model":"openai/m","input":"a text"}', target="/v1/async/embeddings")


@pytest.fixture
def edge(mongod: MongodSet, tmp_path: Path) -> Iterator[EdgeProcess]:
    with EdgeProcess(tmp_path, mongod.uri, max_sync_waiters=PLACES, sync_wait_seconds=60) as running:
        yield running
        assert not running.complaints()


def test_a_client_that_hangs_up_leaves_its_place_for_the_next(edge: EdgeProcess) -> None:
    waiting = [edge.raw() for _ in range(PLACES)]
    for raw in waiting:
        raw.send(CALL)
    until(lambda: edge.jobs() == PLACES, "all wait")
    assert edge.exchange(CALL).status == 503
    for raw in waiting:
        raw.socket.close()
    until(lambda: waits(edge), "the next one waits", within=5)
    assert edge.jobs() == PLACES + 1


def test_a_client_that_hangs_up_behind_more_than_is_read_leaves_its_place_too(edge: EdgeProcess) -> None:
    """The next request of the connection is longer than what is read while this one waits: so the end is not read."""
    waiting = [edge.raw() for _ in range(PLACES)]
    for raw in waiting:
        raw.send(CALL + post(bytes(3_000_000), target="/v1/async/embeddings")[:300_000])
    until(lambda: edge.jobs() == PLACES, "all wait")
    assert edge.exchange(CALL).status == 503
    for raw in waiting:
        raw.socket.close()
    until(lambda: waits(edge), "the next one waits", within=5)


def waits(edge: EdgeProcess) -> bool:
    """Whether a call is not refused at once."""
    with edge.raw() as raw:
        raw.send(CALL)
        return not select.select([raw.socket], [], [], 1.0)[0]


def test_a_poll_whose_client_hangs_up_leaves_its_place_too(edge: EdgeProcess) -> None:
    job = json.loads(edge.exchange(SUBMIT).body)
    poll = f"GET /v1/async/embeddings/{job['id']} HTTP/1.1", "Host: door"
    long, short = (head(*poll, f"Prefer: wait={seconds}") for seconds in (20, 1))
    waiting = [edge.raw() for _ in range(PLACES)]
    for raw in waiting:
        raw.send(long)
    until(lambda: "preference-applied" not in edge.exchange(short).headers, "all places are taken")
    for raw in waiting:
        raw.socket.close()
    until(lambda: "preference-applied" in edge.exchange(short).headers, "a place is free", within=5)
