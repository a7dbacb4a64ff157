"""Bodies and their parsers, as the edge puts them together."""

from __future__ import annotations

from collections.abc import Iterable

from edge.submit.validation import ParsedRequest, parser
from shared.domain.catalogue import BY_TYPE
from shared.domain.form import Part, encode_form
from shared.providers.config import ProviderConfig

PROVIDERS = {
    "openai": ProviderConfig(name="openai", models=("gpt-4o-mini",)),
    "elevenlabs": ProviderConfig(name="elevenlabs"),
    "local": ProviderConfig(name="local", kind="local"),
}
MIB = 1024 * 1024
M = b'"model":"openai/m"'


def parse_json(request_type: str, body: bytes, content_type: str = "application/json") -> ParsedRequest:
    return parser(BY_TYPE[request_type], PROVIDERS, "", MIB)(body, content_type, False)


def parse_parts(request_type: str, parts: Iterable[Part], max_bytes: int = MIB) -> ParsedRequest:
    content_type, body = encode_form(parts)
    return parser(BY_TYPE[request_type], PROVIDERS, "", max_bytes)(body, content_type, False)


def text(name: str, value: str) -> Part:
    return Part(name, None, None, value.encode())


def upload(name: str, data: bytes = b"\x89PNG", filename: str = "in.png") -> Part:
    return Part(name, filename, "image/png", data)
