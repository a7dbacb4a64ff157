"""Falcon's application, by its public interface: request class, middleware, metrics by route."""

from __future__ import annotations

import asyncio
from functools import cache
from time import perf_counter
from typing import Any

import falcon.asgi
from falcon.asgi import Request, Response

from edge.http.request import EdgeRequest
from edge.http.stream_places import Place, PlacedPieces
from edge.ingress.asgi_types import Receive, Scope, Send
from edge.ingress.rejection import RequestRejected
from shared.telemetry.metrics import HTTP_REQUESTS

# Children of the metric, bound once: finding one by its labels costs more than counting.
_requests = cache(HTTP_REQUESTS.labels)


class EdgeApp(falcon.asgi.App[Request, Response]):
    """Falcon's App for EdgeRequest, with metrics; gives back the place of an answer in pieces, however it ends."""

    def __init__(self, middleware: list[Any]) -> None:
        # Falcon runs process_response from the last to the first: ours sees what all others have written.
        super().__init__(request_type=EdgeRequest, middleware=[_AroundRequests(), *middleware])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]
        try:
            await super().__call__(scope, receive, send)  # type: ignore[arg-type]
        except asyncio.CancelledError:
            if (place := _place(scope)) is not None and place.undo_cancel():
                message = "the answer was read too slowly while others waited"
                raise RequestRejected(503, "slow_reader", message) from None
            raise
        finally:
            if (place := _place(scope)) is not None:
                place.leave()


class _AroundRequests:
    """Middleware. Writes no log line: it would cost too much."""

    async def process_request(self, req: Request, resp: Response) -> None:
        if req.scope["path"].startswith("//"):  # a router would misread it
            raise falcon.HTTPNotFound

    async def process_response(self, req: Request, resp: Response, resource: object, req_succeeded: bool) -> None:
        if isinstance(resp.stream, PlacedPieces):  # here, since Falcon does not read the stream of a HEAD request
            req.scope["state"]["place"] = resp.stream.place
        assert isinstance(req, EdgeRequest)
        code_class = f"{resp.status_code // 100}xx"
        _requests(req.uri_template or "none", req.method, code_class).observe(perf_counter() - req.started)


def _place(scope: Scope) -> Place | None:
    place: Place | None = scope.get("state", {}).get("place")
    return place
