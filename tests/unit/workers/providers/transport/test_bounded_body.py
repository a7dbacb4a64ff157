"""A body is whole or an error, and never more than its limit comes out of it."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coatcheck.drill.upstream.odd_answers import bomb
from workers.provider_interface import ProviderError
from workers.providers.transport.exchange import BoundedBody


def fed(data: bytes, encoding: str, limit: int, step: int) -> bytes | None:
    """The body, or None when it is over its limit."""
    body = BoundedBody(encoding, limit)
    for start in range(0, len(data), step):
        if not all(body.feed(data[start : start + step])):
            assert len(body.start()) == limit
            return None
        assert body.size <= limit
    return body.finish()


BODIES = st.binary(max_size=2000) | st.integers(0, 50_000).map(lambda size: b"a" * size)


@given(BODIES, st.sampled_from(["", "identity", "gzip", "x-gzip"]), st.integers(1, 3000), st.integers(0, 60_000))
def test_a_body_within_its_limit_is_whole_however_it_is_cut(data: bytes, encoding: str, step: int, limit: int) -> None:
    wire = gzip.compress(data) if encoding.endswith("gzip") else data
    assert fed(wire, encoding, limit, step) == (data if len(data) <= limit else None)


@given(st.lists(BODIES, min_size=1, max_size=3), st.integers(1, 500))
def test_one_gzip_file_may_follow_another(bodies: list[bytes], step: int) -> None:
    assert fed(b"".join(map(gzip.compress, bodies)), "gzip", 1 << 20, step) == b"".join(bodies)


@given(st.binary(min_size=1, max_size=300), st.data())
def test_a_zip_that_is_cut_or_broken_is_an_error_or_the_whole(data: bytes, draw: st.DataObject) -> None:
    wire = bytearray(gzip.compress(data))
    if draw.draw(st.booleans()):
        wire = wire[: draw.draw(st.integers(1, len(wire) - 1))]
    else:
        wire[draw.draw(st.integers(0, len(wire) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    try:
        assert fed(bytes(wire), "gzip", 1 << 20, 64) == data
    except ProviderError as error:
        assert (error.status_code, error.retryable) == (502, True)


def test_a_bomb_stops_at_the_limit() -> None:
    assert len(bomb()) < 1 << 20
    assert len(zlib.decompressobj(wbits=31).decompress(bomb(), 1 << 22)) == 1 << 22
    assert fed(bomb(), "gzip", 1 << 20, 16 * 1024) is None


def test_a_zip_comes_out_in_steps_between_which_its_reader_may_wait() -> None:
    body, sizes = BoundedBody("gzip", 64 << 20), []
    for fits in body.feed(gzip.compress(bytes(10 << 20))):
        assert fits
        sizes.append(body.size)
    assert max(after - before for before, after in zip([0, *sizes], sizes, strict=False)) <= 1 << 20
    assert body.finish() == bytes(10 << 20)


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "x" * 500])
def test_an_encoding_that_was_not_asked_for_is_an_error(encoding: str) -> None:
    with pytest.raises(ProviderError, match="was not asked for"):
        BoundedBody(encoding, 1)
