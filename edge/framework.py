"""Falcon's application with a shorter way from a request to its answer: without what no route of ours uses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import falcon
import falcon.asgi
from falcon.asgi import Request, Response

from edge.access import Access
from edge.asgi_types import Receive, Scope, Send
from edge.request import EdgeRequest, EdgeResponse

_BODILESS = frozenset({204, 304})


class EdgeApp(falcon.asgi.App[Request, Response]):
    """Falcon's routes, middleware, error handlers, requests and responses.

    There are no server-sent events, media handlers and callbacks here, and of the middleware only process_request and
    process_response. It calls parts of Falcon's App that are not public: `_middleware`, `_get_responder`,
    `_handle_exception` and the response's `_headers` and `_asgi_headers`; Falcon's exact version is pinned.
    """

    def __init__(self, middleware: list[Any]) -> None:
        super().__init__(middleware=middleware)
        self._access = Access()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)  # type: ignore[arg-type]
            return
        first_event = await receive() if "body" in scope["state"] else None
        req = EdgeRequest(scope, receive, first_event, self.req_options)
        resp = EdgeResponse(self.resp_options)
        await self._respond(req, resp)
        self._access.observe(req, resp)
        await _answer(req, resp, send, self.resp_options.default_media_type)

    async def _respond(self, req: EdgeRequest, resp: Response) -> None:
        params: dict[str, Any] = {}
        resource: object = None
        before, _, after = cast("tuple[Any, Any, Any]", self._middleware)
        try:
            self._access.check(req)
            for process_request in before:
                await process_request(req, resp)
            responder, params, resource, req.uri_template = cast("Any", self._get_responder(req))
            await responder(req, resp, **params)
            succeeded = True
        except Exception as error:
            succeeded = False
            if not await self._handle_exception(req, resp, error, params):
                raise
        for process_response in after:
            await process_response(req, resp, resource, succeeded)


async def _answer(req: Request, resp: Response, send: Send, media_type: str | None) -> None:
    status, data, stream = resp.status_code, resp.data, cast("AsyncIterator[bytes] | None", resp.stream)
    if data is not None:
        resp._headers["content-length"] = str(len(data))
        stream = None
    elif stream is None:
        resp._headers.setdefault("content-length", "0")  # an answer to HEAD knows the length of what it leaves out
    if status in _BODILESS:
        media_type = None
    await send({"type": "http.response.start", "status": status, "headers": resp._asgi_headers(media_type)})
    if req.method == "HEAD":
        data = None
    elif stream is not None:
        async for piece in stream:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": data or b""})
