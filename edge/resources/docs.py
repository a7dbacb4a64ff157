"""GET /openapi.json and /docs, both made once at start."""

from __future__ import annotations

import msgspec
from falcon.asgi import Request, Response

from edge.docs_page import page
from edge.openapi import document


class FixedResource:
    """Answers every GET with the same bytes."""

    def __init__(self, data: bytes, content_type: str, headers: dict[str, str]) -> None:
        self._data = data
        self._content_type = content_type
        self._headers = headers

    async def on_get(self, req: Request, resp: Response) -> None:
        """Answer."""
        resp.content_type = self._content_type
        resp.set_headers(self._headers)
        resp.data = self._data

    on_head = on_get


def documentation(version: str) -> dict[str, FixedResource]:
    """Routes of the documentation."""
    described = document(version)
    html, policy = page(described)
    return {
        "/openapi.json": FixedResource(msgspec.json.encode(described), "application/json", {}),
        "/docs": FixedResource(
            html,
            "text/html; charset=utf-8",
            {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"},
        ),
    }
