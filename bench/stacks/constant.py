"""The same server with nothing behind it: what one request costs before Coatcheck does anything."""

from __future__ import annotations

from edge.ingress.asgi_types import ASGIApp, Receive, Scope, Send

_BODY = b'{"id":"00000000-0000-7000-8000-000000000000","status":"pending","created_at":"2026-01-01T00:00:00.000Z"}'
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(_BODY)).encode())]


def app() -> ASGIApp:
    """An ASGI application that reads the body and answers 202 with a constant."""
    return _answer


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 202, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _BODY})
