"""Requests and responses as the resources see them: Falcon's, of which only what nearly all need is made at once."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from falcon.asgi import Request, Response
from falcon.request import RequestOptions
from falcon.response import ResponseOptions

from edge.asgi_types import Message, Receive, Scope


class EdgeRequest(Request):
    """Falcon's request. Its headers, parameters and context come into being when the first of them is asked for."""

    __slots__ = ("started",)

    def __init__(self, scope: Scope, receive: Receive, first_event: Message | None, options: RequestOptions) -> None:
        self.scope: dict[str, Any] = scope  # type: ignore[assignment]
        self._receive = receive
        self._first_event = first_event
        self.options = options
        self.method = scope["method"]
        self.path = scope["path"] or "/"
        self.is_websocket = False
        self.uri_template = None
        self.started = perf_counter()

    def __getattr__(self, name: str) -> Any:
        """Called for what is not there yet: let Falcon make all of the rest."""
        if name.startswith("__"):
            raise AttributeError(name)
        method, path, uri_template = self.method, self.path, self.uri_template
        super().__init__(self.scope, self._receive, self._first_event, self.options)
        self.method, self.path, self.uri_template = method, path, uri_template
        return object.__getattribute__(self, name)

    def is_complete(self) -> None:
        """Start the clock of this request again: time that the client took to send or wanted to wait is not ours."""
        self.started = perf_counter()

    async def whole_body(self) -> bytes:
        """All bytes of the body, to be asked for once: they are not kept. Raises DoorRefusal unless all come."""
        event, self._first_event = self._first_event or {}, None
        if not event.get("more_body"):
            body: bytes = event.get("body", b"")
            return body
        pieces = [event.get("body", b"")]
        while event.get("more_body"):
            event = await self._receive()
            pieces.append(event.get("body", b""))
        return b"".join(pieces)


class EdgeResponse(Response):
    """Falcon's response, without a context. What is set rarely is a default of the class."""

    text = None
    stream = None
    _cookies = None
    _extra_headers = None
    _media = None

    def __init__(self, options: ResponseOptions) -> None:
        self.options = options
        self.status = 200
        self._headers = {}
        self._data = None
