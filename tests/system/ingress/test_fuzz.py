"""Random bytes, in random pieces, on random connections against the real server: whole jobs or none, no crash."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

from tests.support.ingress.broken_requests import REFUSED
from tests.support.ingress.server import GET, SHORT, IngressServer, chunked, head, job_line, post

EXAMPLES = how(
    max_examples=int(os.environ.get("TEST_EXAMPLES", "150")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
SPLITS = st.lists(st.integers(1, 400), max_size=12)
BODIES = st.binary(max_size=300)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IngressServer]:
    with IngressServer(tmp_path_factory.mktemp("door"), **(SHORT | {"body_grace": 5, "head_timeout": 5})) as door:
        yield door
        assert door.post(b"still open").status == 202
        assert door.stop() == 0
        errors = [line for line in door.log().splitlines() if line.startswith(("ERROR", "WARNING", "CRITICAL"))]
        assert not errors


def in_pieces(data: bytes, splits: list[int]) -> Iterator[bytes]:
    """The bytes cut at random places; what is left comes last."""
    for size in splits:
        yield data[:size]
        data = data[size:]
    yield data


@EXAMPLES
@given(bodies=st.lists(BODIES, min_size=1, max_size=4), splits=SPLITS, chunks=st.lists(st.integers(1, 99), max_size=5))
def test_however_requests_are_cut_each_body_is_one_whole_job(
    door: IngressServer, bodies: list[bytes], splits: list[int], chunks: list[int]
) -> None:
    door.mark()
    data = b""
    for number, body in enumerate(bodies):
        parts = [part for part in in_pieces(body, chunks) if part]
        data += chunked(*parts) if number % 2 else post(body)
    with door.raw() as raw:
        for piece in in_pieces(data, splits):
            raw.send(piece)
            select.select([raw.socket], [], [], 0)
        assert [raw.answer().status for _ in bodies] == [202] * len(bodies)
    assert door.jobs() == [job_line(body) for body in bodies]


NAMES = st.sampled_from(
    [
        *("Host", "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Expect", "Content-Encoding", "TE"),
        *("Trailer", "X-Request-Id", "Cookie", "X-" + "y" * 300),
    ]
)
VALUES = st.sampled_from(
    [
        *("door", "0", "5", "-1", "99999999999999", "chunked", "gzip, chunked", "identity", "close", "keep-alive"),
        *("upgrade", "h2c", "100-continue", "", " ", "\t", "a\x0bb", "\xff", "x" * 9000),
    ]
)
REQUEST_LINES = st.sampled_from(
    [
        *("POST /jobs HTTP/1.1", "POST /jobs HTTP/1.0", "GET /jobs HTTP/1.1", "POST  /jobs HTTP/1.1"),
        *("POST /jobs HTTP/1.1 ", "POST http://door/jobs HTTP/1.1", "OPTIONS * HTTP/1.1", "GET /%zz HTTP/1.1"),
        *("POST /jobs#x HTTP/1.1", "POST /jobs"),
    ]
)


@EXAMPLES
@given(
    line=REQUEST_LINES,
    headers=st.lists(st.tuples(NAMES, VALUES), max_size=8),
    body=BODIES,
    splits=SPLITS,
)
def test_any_head_gets_whole_answers_and_makes_no_job_of_what_was_not_sent(
    door: IngressServer, line: str, headers: list[tuple[str, str]], body: bytes, splits: list[int]
) -> None:
    lines = [line, *(f"{name}: {value}" for name, value in headers)]
    talk(door, head(*lines) + body, splits, at_most=len(body))


@EXAMPLES
@given(
    request=st.sampled_from([GET, post(b"hello"), chunked(b"hel", b"lo"), *(sent for _, sent in REFUSED.values())]),
    place=st.integers(0, 1 << 16),
    noise=st.binary(max_size=20),
    cut=st.booleans(),
    splits=SPLITS,
)
def test_damaged_requests_get_whole_answers_and_make_no_crash(
    door: IngressServer, request: bytes, place: int, noise: bytes, cut: bool, splits: list[int]
) -> None:
    place %= len(request) + 1
    data = request[:place] + noise + request[place + (len(noise) if cut else 0) :]
    talk(door, data, splits, at_most=len(data))


def talk(door: IngressServer, data: bytes, splits: list[int], at_most: int) -> None:
    """Send and half-close. Every answer must be whole and known, and no job may be larger than what was sent."""
    door.mark()
    with door.raw() as raw:
        with contextlib.suppress(ConnectionError):
            for piece in in_pieces(data, splits):
                raw.send(piece)
            raw.finish()
        statuses = []
        while (answer := raw.answer()).status:
            statuses.append(answer.status)
            length = int(answer.headers.get("content-length", len(answer.body)))
            assert len(answer.body) in (length, 0), answer  # 0: to HEAD, or the client's own half-close came first
            if answer.headers.get("connection") == "close":
                break
    assert set(statuses) <= {200, 202, 400, 404, 405, 408, 413, 414, 415, 417, 431, 501, 505}, statuses
    made = [int(line.split()[1]) for line in door.jobs()]
    assert all(size <= at_most for size in made)
