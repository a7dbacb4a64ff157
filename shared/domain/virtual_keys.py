"""The secret of a virtual key: how it is made, and the one form in which it is stored and looked up."""

import hashlib
import re
import secrets
from collections.abc import Iterable
from fnmatch import fnmatchcase

PREFIX = "sk-bf-"
MAX_NAME_CHARACTERS = 100
_LIKE_AN_ID = re.compile(r"[0-9a-f]{32}")


def new_secret() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def hash_secret(secret: str) -> bytes:
    """The SHA-256 that is stored. A slow hash would add nothing to 256 random bits and cost every request."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def hint(secret: str) -> str:
    return secret[-4:]


def name_problem(name: str) -> str | None:
    if not name or name != name.strip():
        return "a key needs a name, without blanks around it"
    if len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
        return f"the name of a key has at most {MAX_NAME_CHARACTERS} printable characters"
    if _LIKE_AN_ID.fullmatch(name):
        return "the name of a key must not look like an id of one"
    return None


def may_match(pattern: str, providers: Iterable[str]) -> bool:
    """Whether a pattern of a key's list can match `provider/model` for any model of one of these providers."""
    heads = [pattern[:end] for end in range(1, len(pattern) + 1)]
    return any(
        fnmatchcase(f"{provider}/", head) and (head != pattern or pattern.endswith("*"))
        for provider in providers
        for head in heads
    )
