"""Job ids: time-ordered and random, or derived from an Idempotency-Key."""

import hashlib
import hmac
import os
import re
import time
import uuid

_MASK_62 = (1 << 62) - 1
_canonical = re.compile("[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}").fullmatch


def new_job_id(now: float | None = None) -> uuid.UUID:
    """A version 7 UUID. The id of a keyless job is its only secret: all 74 bits beside the milliseconds are random."""
    milliseconds = int((time.time() if now is None else now) * 1000) & ((1 << 48) - 1)
    random = int.from_bytes(os.urandom(10), "big") >> 6
    value = milliseconds << 80 | 0x7 << 76 | (random >> 62) << 64 | 0b10 << 62 | random & _MASK_62
    return uuid.UUID(int=value)


def keyed_job_id(secret: bytes, key_id: str | None, idempotency_key: str) -> uuid.UUID:
    """A version 8 UUID. With the secret, so that a guessed Idempotency-Key does not give the id of a keyless job."""
    digest = hmac.digest(secret, f"{key_id or ''}\x00{idempotency_key}".encode(), hashlib.sha256)
    value = int.from_bytes(digest[:16], "big") & ~(0xF << 76) | 0x8 << 76
    value = value & ~(0b11 << 62) | 0b10 << 62
    return uuid.UUID(int=value)


def parse_job_id(text: str) -> uuid.UUID | None:
    """Read an id from a path. Only the canonical lower- or upper-case 8-4-4-4-12 form is one."""
    return uuid.UUID(int=int(text.replace("-", ""), 16)) if _canonical(text) else None


def age_seconds(job_id: uuid.UUID, now: float) -> float | None:
    """How old a time-ordered id is; None for a derived one, which carries no time."""
    return now - (job_id.int >> 80) / 1000 if job_id.version == 7 else None
