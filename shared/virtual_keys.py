"""The secret of a virtual key: how it is made, and the one form in which it is stored and looked up."""

from __future__ import annotations

import hashlib
import secrets

PREFIX = "sk-bf-"
HINT_CHARACTERS = 4


def new_secret() -> str:
    """Make a secret: the prefix and 32 random bytes in base64url."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_secret(secret: str) -> bytes:
    """The SHA-256 that is stored. A slow hash would add nothing to 256 random bits and cost every request."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def hint(secret: str) -> str:
    """The end of the secret, for people who compare it with the one they hold."""
    return secret[-HINT_CHARACTERS:]
