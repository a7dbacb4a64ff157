"""Decoder errors in words for the client: which field, what was expected, what came."""

from __future__ import annotations

import re

_MISMATCH = re.compile(r"Expected `(.+?)`, got `(.+?)`(?: - at `(.+?)`)?$")
_ABSENT = re.compile(r"Object missing required field `(.+?)`(?: - at `(.+?)`)?$")
_OTHER = re.compile(r"(.+?)(?: - at `(.+?)`)?$")
_WORDS = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def type_problem(message: str) -> str:
    """What a validation error of the JSON decoder means."""
    if found := _MISMATCH.match(message):
        expected, got, path = found.groups()
        return f"{_subject(path)}: expected {_types(expected)}, got {_types(got)}"
    if found := _ABSENT.match(message):
        name, path = found.groups()
        return f"field '{_field(path or '$', name)}' is missing"
    found = _OTHER.match(message)
    text, path = found.groups() if found else (message, None)
    return f"{_subject(path)}: {text[:1].lower()}{text[1:]}"


def syntax_problem(message: str, size: int) -> str:
    """Why a body of `size` bytes is no JSON."""
    if size == 0:
        return "the body is empty: expected a JSON object"
    if "truncated" in message:
        return f"the body is not valid JSON: it ends too early, after {size} bytes, or holds half a surrogate pair"
    return f"the body is not valid JSON: {message.removeprefix('JSON is malformed: ')}"


def _types(union: str) -> str:
    names = union.split(" | ")
    if "int" in names and "float" in names:
        names.remove("int")
    words = [_WORDS.get(name, name) for name in names]
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _subject(path: str | None) -> str:
    return "the body" if path in (None, "$") else f"field '{_field(str(path))}'"


def _field(path: str, name: str = "") -> str:
    return ".".join(filter(None, [path.removeprefix("$").removeprefix("."), name]))
