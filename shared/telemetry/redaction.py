"""Takes keys, Authorization values and passwords out of any text that leaves a process."""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

from shared.settings.table import FIELDS, Settings, is_secret

GONE = "<redacted>"
_SHORTEST_HIDDEN = 6
"""A shorter secret is not searched for: it would blank out ordinary words."""
_MOST_HIDDEN = 1000

_SECRET_NAME = re.compile(r"(?i)(key|password|passwd|secret|token|authorization|proxy)$")
_NAMED = r"(?i)((?:api[-_]?key|x-bf-vk|password|passwd|secret|token)"
_PATTERNS = (
    (re.compile(r"\b(sk|pk|gsk|hf|xai|r8)[-_][\w-]{8,}"), rf"\1-{GONE}"),
    (re.compile(r"(?i)\b(bearer)\s+[^\s\"',}]{4,}"), rf"\1 {GONE}"),
    (re.compile(r"(?i)(authorization[\"']?\s{0,4}[:=]\s{0,4}[\"']?)[^\r\n\"',}]+"), rf"\1{GONE}"),
    (re.compile(_NAMED + r"[\"']?\s{0,4}[:=]\s{0,4}[\"']?)[^\s\"',;&}]+"), rf"\1{GONE}"),
    (re.compile(r"(://[^\s/:@]{0,200}):[^\s]{1,500}@"), rf"\1:{GONE}@"),
)

_SUSPECT = re.compile(r"(?i)k[-_]|hf[-_]|xai[-_]|r8[-_]|bearer|authori|key|vk|passw|secret|token|://")
"""What every pattern needs: most texts hold none of it, and one search is cheaper than five."""

_hidden: list[str] = []  # longest first: one secret may be part of another


def hide(secrets: Iterable[str]) -> None:
    """Take these texts out of everything that `redact` sees from now on, also where they are quoted or escaped."""
    forms = {plain(form) for secret in secrets for form in (secret, repr(secret)[1:-1], quote(plain(secret), safe=""))}
    found = {form for form in forms if len(form) >= _SHORTEST_HIDDEN}
    _hidden[:] = sorted(found.union(_hidden), key=len, reverse=True)[:_MOST_HIDDEN]


def redact(text: str) -> str:
    """The text without hidden secrets and without what looks like one, fit for any encoding."""
    text = plain(text)
    for secret in _hidden:
        if secret in text:
            text = text.replace(secret, GONE)
    if _SUSPECT.search(text) is None:
        return text
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def plain(text: str) -> str:
    """The text with lone surrogates as escapes: no encoding can write them."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def secrets_in(settings: Settings) -> Iterator[str]:
    for name in FIELDS:
        value = getattr(settings, name)
        if isinstance(value, Mapping):
            yield from _secrets_in_table(value)
        elif isinstance(value, str) and "://" in value:
            yield from _password_in(value)
        elif is_secret(name):
            yield value


@functools.lru_cache(maxsize=1024)
def is_secret_name(name: str) -> bool:
    """Whether a value under this name is one to hide. Names of variables and files that hold a key are not."""
    return _SECRET_NAME.search(name) is not None


def _secrets_in_table(table: Mapping[str, Any], inherited: bool = False) -> Iterator[str]:
    for name, value in table.items():
        secret = inherited or is_secret_name(name)
        if isinstance(value, Mapping):
            yield from _secrets_in_table(value, secret or name == "headers")
        elif isinstance(value, str) and secret:
            yield value


def _password_in(uri: str) -> Iterator[str]:
    user, found, _ = uri.partition("://")[2].rpartition("@")
    if found and ":" in user:
        password = user.partition(":")[2]
        yield from (password, unquote(password))
