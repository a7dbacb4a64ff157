"""The bell record: one version byte, then 1 to 64 job ids of 16 bytes. "These ids wait", nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from shared.errors import CoatcheckError

MAX_IDS = 64
"""Ids in one record: enough that a record's cost is shared, few enough that one worker does not take a whole burst."""

_VERSION = 1
_ID_BYTES = 16


class BadBell(CoatcheckError):
    """A record on a bell topic that is no bell, or one of a newer version."""


def encode_bell(ids: Sequence[UUID]) -> bytes:
    """Make the record of 1 to MAX_IDS ids. Raises ValueError for any other number."""
    if not 1 <= len(ids) <= MAX_IDS:
        raise ValueError(f"a bell holds 1 to {MAX_IDS} ids, not {len(ids)}")
    return bytes([_VERSION]) + b"".join([job_id.bytes for job_id in ids])


def decode_bell(value: bytes | None) -> tuple[UUID, ...]:
    """Read a record's value. Raises BadBell, and nothing else, for every value that `encode_bell` cannot have made."""
    if not value:
        raise BadBell("an empty record")
    if value[0] != _VERSION:
        raise BadBell(f"version {value[0]}, known is {_VERSION}")
    count, rest = divmod(len(value) - 1, _ID_BYTES)
    if rest or not 1 <= count <= MAX_IDS:
        raise BadBell(f"{len(value)} bytes are not 1 to {MAX_IDS} ids")
    return tuple([UUID(bytes=value[start : start + _ID_BYTES]) for start in range(1, len(value), _ID_BYTES)])
