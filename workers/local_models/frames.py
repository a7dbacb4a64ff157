"""What a worker and a model's process say to each other through two pipes: frames of a length and a message."""

import os
from collections.abc import Callable

import msgspec

from workers.provider_interface import Answer, Call, ProviderError

LENGTH_BYTES = 8
STOP = bytes(LENGTH_BYTES)
"""An empty frame: whoever waited for the running call has gone."""
_READ_BYTES = 1 << 20


class _Reply(msgspec.Struct, frozen=True, tag_field="reply", tag=True):
    """What a model's process says; the class name tells which."""


class Ready(_Reply, frozen=True):
    """The model is loaded."""


class Answered(_Reply, frozen=True):
    answer: Answer


class Refused(_Reply, frozen=True):
    """The model cannot or may not do the call."""

    message: str
    status_code: int
    error_type: str
    retryable: bool
    type: str | None

    @staticmethod
    def by(error: ProviderError) -> "Refused":
        return Refused(error.message, error.status_code, error.error_type, error.retryable, error.type)

    def error(self) -> ProviderError:
        return ProviderError(**msgspec.structs.asdict(self))


class Broken(_Reply, frozen=True):
    """The model raised something unforeseen: its type and where, not its text, which may quote the request."""

    exception: str
    frames: str


Reply = Ready | Answered | Refused | Broken

decode_call: Callable[[bytes], Call] = msgspec.msgpack.Decoder(Call).decode
decode_reply: Callable[[bytes], Reply] = msgspec.msgpack.Decoder(Reply).decode


def write(descriptor: int, message: Call | Reply) -> None:
    """Writes one frame, blocking. Raises OSError when nobody reads."""
    body = memoryview(msgspec.msgpack.encode(message))
    _write_all(descriptor, memoryview(len(body).to_bytes(LENGTH_BYTES)))
    _write_all(descriptor, body)


def read(descriptor: int) -> bytes | None:
    """Reads one frame, blocking: its message, None for `STOP`. Raises EOFError when the other side is gone."""
    length = int.from_bytes(_read_exactly(descriptor, LENGTH_BYTES))
    return _read_exactly(descriptor, length) if length else None


def _write_all(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _read_exactly(descriptor: int, length: int) -> bytes:
    pieces: list[bytes] = []
    while length:
        piece = os.read(descriptor, min(length, _READ_BYTES))
        if not piece:
            raise EOFError
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)
