"""The notification record: one version byte, then the ids of 1 to 64 waiting jobs, 16 bytes each."""

from collections.abc import Sequence
from uuid import UUID

from shared.domain.errors import CoatcheckError

MAX_IDS = 64
"""Ids in one record: enough to share its cost, few enough that one worker does not take a whole burst."""
_VERSION = 1
_ID_BYTES = 16


class BadNotification(CoatcheckError):
    """Not one that `encode_notification` can have made."""


def encode_notification(ids: Sequence[UUID]) -> bytes:
    if not 1 <= len(ids) <= MAX_IDS:
        raise ValueError(f"a notification holds 1 to {MAX_IDS} ids, not {len(ids)}")
    return bytes([_VERSION]) + b"".join([job_id.bytes for job_id in ids])


def decode_notification(value: bytes | None) -> tuple[UUID, ...]:
    """Raises BadNotification."""
    if not value:
        raise BadNotification("an empty record")
    if value[0] != _VERSION:
        raise BadNotification(f"version {value[0]}, known is {_VERSION}")
    count, rest = divmod(len(value) - 1, _ID_BYTES)
    if rest or not 1 <= count <= MAX_IDS:
        raise BadNotification(f"{len(value)} bytes are not 1 to {MAX_IDS} ids")
    return tuple([UUID(bytes=value[start : start + _ID_BYTES]) for start in range(1, len(value), _ID_BYTES)])
