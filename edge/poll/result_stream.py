"""Results on their way to pollers: small ones as they are, large ones chunk by chunk, within bounds."""

from __future__ import annotations

from collections.abc import AsyncIterator

from falcon.asgi import Response

from edge.http.request import EdgeRequest
from edge.http.stream_places import Place, PlacedPieces, Places
from edge.ingress.concurrency import WaitingLimit
from edge.poll import envelope
from shared.domain.job import JobView, PayloadRef
from shared.domain.store_interface import EdgeStore

MAX_WHOLE = 4
"""Large results held whole in memory at a time; streamed ones take a chunk each."""
CHUNK_BYTES = 8 * 1024 * 1024
"""Memory of a large result on its way out: one chunk."""
SMALL_BYTES = 1024 * 1024
"""Results up to this size have a quarter of all places to themselves."""
PIECE_BYTES = 256 * 1024
"""Bytes given to the connection at a time: it copies what a slow reader has not taken."""
_BUSY = "too many large results are being sent: retry in a moment"


class ResultStream:
    """Writes ended jobs: small bodies as they are, large ones chunk by chunk."""

    def __init__(self, store: EdgeStore, max_bytes: int) -> None:
        self._store = store
        small = max(SMALL_BYTES, max_bytes // 4)
        self._small = Places(small, _BUSY)
        self._large = Places(max(CHUNK_BYTES, max_bytes - small), _BUSY)
        self._whole = WaitingLimit(MAX_WHOLE, 2.0, _BUSY)

    async def write(self, req: EdgeRequest, resp: Response, view: JobView) -> None:
        """Write the envelope of an ended job. Raises Overloaded when too many large ones are being sent."""
        if view.body is None:
            raise ValueError(f"job {view.id} has ended without a body")
        head, tail = envelope.ended(view)
        if isinstance(view.body, bytes):
            resp.data = head + view.body + tail
            return
        resp.content_type = envelope.MEDIA_TYPE
        resp.content_length = len(head) + view.body.size + len(tail)
        if req.method != "HEAD":
            place = self._place(view.body.size, min(view.body.size, CHUNK_BYTES))
            try:
                pieces = self._pieces(head, view.body, tail)
                # The first chunk is read before the status goes out: an error can still be answered as one.
                first = await anext(pieces)
            except BaseException:
                place.leave()
                raise
            resp.stream = PlacedPieces(place, _resumed(first, pieces))

    def write_whole(self, resp: Response, body: bytes) -> None:
        """Write a body made in memory; a large one needs a place until it is read. Raises Overloaded."""
        if len(body) <= PIECE_BYTES:
            resp.data = body
            return
        resp.content_length = len(body)
        place = self._place(len(body), len(body))
        resp.stream = PlacedPieces(place, _cut(body))

    def _place(self, size: int, held: int) -> Place:
        return (self._small if size <= SMALL_BYTES else self._large).take(held)

    async def load(self, ref: PayloadRef) -> bytes:
        async with self._whole:
            return b"".join([chunk async for chunk in self._store.read_payload(ref)])

    async def _pieces(self, head: bytes, ref: PayloadRef, tail: bytes) -> AsyncIterator[bytes]:
        async for chunk in self._store.read_payload(ref):
            async for piece in _cut(chunk):
                yield head + piece if head else piece
                head = b""
        yield tail


async def _cut(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), PIECE_BYTES):
        yield body[start : start + PIECE_BYTES]


async def _resumed(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece
