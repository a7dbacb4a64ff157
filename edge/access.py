"""What happens around every request: odd methods and paths are refused, and its time is measured by route."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import falcon
from falcon.asgi import Request, Response

from shared.metrics import HTTP_REQUESTS

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
_NOBODYS_METHOD = "TRACE"
"""Stands for methods that the router does not know: it answers 405 and names those that the path has."""

Observe = Callable[[float], None]


class Access:
    """Falcon middleware. Writes no log line: one per request would cost more than the request."""

    def __init__(self) -> None:
        self._observers: dict[tuple[str | None, str, int], Observe] = {}

    async def process_request(self, req: Request, resp: Response) -> None:
        """Start the clock; refuse what a router would misread."""
        body_is_complete(req)
        if req.method not in _METHODS:
            req.method = _NOBODYS_METHOD
        if req.path.startswith("//"):
            raise falcon.HTTPNotFound

    async def process_response(self, req: Request, resp: Response, resource: object, succeeded: bool) -> None:
        """Count and time the answer under its route's template."""
        label = (req.uri_template, req.method, resp.status_code // 100)
        observe = self._observers.get(label) or self._observer(*label)
        # Falcon refuses the pseudo method WEBSOCKET before any middleware has run.
        observe(perf_counter() - getattr(req.context, "started", perf_counter()))

    def _observer(self, template: str | None, method: str, code_class: int) -> Observe:
        """Bind a label child. Routes, methods and classes are few, so this is bounded."""
        observe = HTTP_REQUESTS.labels(template or "none", method, f"{code_class}xx").observe
        self._observers[template, method, code_class] = observe
        return observe


def body_is_complete(req: Request) -> None:
    """Start the clock of this request again: time that the client took to send is not ours."""
    req.context.started = perf_counter()
