"""What happens around every request: odd methods and paths are refused, and its time is measured by route."""

from __future__ import annotations

from time import perf_counter

import falcon
from falcon.asgi import Response

from edge.gathered import Gathered
from edge.request import EdgeRequest
from shared.metrics import HTTP_REQUESTS, observe_all

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
_NOBODYS_METHOD = "TRACE"
"""Stands for methods that the router does not know: it answers 405 and names those that the path has."""

Label = tuple[str | None, str, int]
"""Template of the route, method, hundreds of the status. Routes, methods and classes are few, so these are bounded."""


class Access:
    """Looks at requests before the router and after the answer. Writes no log line: it would cost too much."""

    def __init__(self) -> None:
        self._gathered: Gathered[Label] = Gathered(_write)

    def check(self, req: EdgeRequest) -> None:
        """Refuse what a router would misread."""
        if req.method not in _METHODS:
            req.method = _NOBODYS_METHOD
        if req.path.startswith("//"):
            raise falcon.HTTPNotFound

    def observe(self, req: EdgeRequest, resp: Response) -> None:
        """Count and time the answer under its route's template."""
        self._gathered.add((req.uri_template, req.method, resp.status_code // 100), perf_counter() - req.started)


def _write(label: Label, seconds: list[float]) -> None:
    template, method, code_class = label
    observe_all(HTTP_REQUESTS.labels(template or "none", method, f"{code_class}xx"), seconds)
