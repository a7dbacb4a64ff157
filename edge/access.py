"""What happens around every request: odd methods and paths are refused, and its time is measured by route."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import falcon
from falcon.asgi import Response

from edge.request import EdgeRequest
from shared.metrics import HTTP_REQUESTS

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
_NOBODYS_METHOD = "TRACE"
"""Stands for methods that the router does not know: it answers 405 and names those that the path has."""

Observe = Callable[[float], None]


class Access:
    """Looks at requests before the router and after the answer. Writes no log line: it would cost too much."""

    def __init__(self) -> None:
        self._observers: dict[tuple[str | None, str, int], Observe] = {}

    def check(self, req: EdgeRequest) -> None:
        """Refuse what a router would misread."""
        if req.method not in _METHODS:
            req.method = _NOBODYS_METHOD
        if req.path.startswith("//"):
            raise falcon.HTTPNotFound

    def observe(self, req: EdgeRequest, resp: Response) -> None:
        """Count and time the answer under its route's template."""
        label = (req.uri_template, req.method, resp.status_code // 100)
        observe = self._observers.get(label) or self._observer(*label)
        observe(perf_counter() - req.started)

    def _observer(self, template: str | None, method: str, code_class: int) -> Observe:
        """Bind a label child. Routes, methods and classes are few, so this is bounded."""
        observe = HTTP_REQUESTS.labels(template or "none", method, f"{code_class}xx").observe
        self._observers[template, method, code_class] = observe
        return observe
