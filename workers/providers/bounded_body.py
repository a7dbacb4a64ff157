"""Collects an HTTP body piece by piece, unzips it, and never lets more than its limit out of the zip."""

from __future__ import annotations

import zlib

from workers.providers import errors

ACCEPT_ENCODING = "gzip"
_GZIP = 31  # zlib's window bits for a gzip file
_STEP_BYTES = 1024 * 1024
"""Unzipped at a time: a buffer that grows to the whole limit is copied several times on the way."""


class BoundedBody:
    """At most `limit` decoded bytes. Raises ProviderError for an encoding that was not asked for."""

    def __init__(self, encoding: str, limit: int) -> None:
        if encoding not in ("", "identity", "gzip", "x-gzip"):
            raise errors.bad_answer(f"content-encoding {encoding[:40]!r} was not asked for")
        self._unzip = zlib.decompressobj(wbits=_GZIP) if encoding.endswith("gzip") else None
        self._pieces: list[bytes] = []
        self._left = limit

    def feed(self, piece: bytes) -> bool:
        """Takes a piece as it came over the wire. False when the body is over its limit: stop reading."""
        if self._unzip is None:
            return self._keep(piece)
        try:
            while piece:
                if self._unzip.eof:  # one gzip file may follow another
                    self._unzip = zlib.decompressobj(wbits=_GZIP)
                if not self._keep(self._unzip.decompress(piece, min(self._left + 1, _STEP_BYTES))):
                    return False
                piece = self._unzip.unused_data if self._unzip.eof else self._unzip.unconsumed_tail
        except zlib.error as error:
            raise errors.bad_answer(f"broken gzip: {error}") from None
        return True

    def finish(self) -> bytes:
        """The whole body. Raises ProviderError when the zip ends too early."""
        if self._unzip is not None and self._pieces and not self._unzip.eof:
            raise errors.bad_answer("gzip that ends too early")
        return self.start()

    def start(self) -> bytes:
        """What has come so far, for an error whose whole text does not matter."""
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    def _keep(self, decoded: bytes) -> bool:
        self._left -= len(decoded)
        self._pieces.append(decoded if self._left >= 0 else decoded[: self._left])
        return self._left >= 0
