"""Every error as the contract's JSON body, whatever the client accepts; nothing internal leaves this process."""

from __future__ import annotations

import difflib
import logging
from functools import lru_cache
from typing import Any

import falcon
from falcon.asgi import App, Request, Response

from edge.forwarded import TrustedProxies
from edge.refusal import DoorRefusal, error_body
from shared.catalogue import CATALOGUE
from shared.errors import Refusal, StoreUnavailable

log = logging.getLogger(__name__)

_PATHS = [
    *(endpoint.path for endpoint in CATALOGUE),
    "/openai/v1/responses",
    "/v1/models",
    "/openai/v1/models",
    "/docs",
]


class Unauthenticated(Refusal):
    """A virtual key is needed and none was sent."""

    status = 401

    def __init__(self) -> None:
        super().__init__(
            "a virtual key is needed: send 'Authorization: Bearer sk-bf-...' or 'x-bf-vk'; "
            "`coatcheck keys create` makes one"
        )


class TooLarge(Refusal):
    """A part of the body is above its limit."""

    status = 413


class StillRunning(Refusal):
    """The wait for a job is over and the job is not."""

    status = 504


def install(app: App[Request, Response], proxies: TrustedProxies) -> None:
    """Make `app` answer every error in the contract's form, and log those that are not the client's."""
    log_errors = _LoggedErrors(proxies)
    app.add_error_handler(Exception, log_errors.crash)
    app.add_error_handler(StoreUnavailable, log_errors.unavailable)
    app.add_error_handler(falcon.HTTPError, _http_error)
    app.add_error_handler(Refusal, _refuse)
    app.add_error_handler(DoorRefusal, _pass_on)


def answer_error(resp: Response, status: int, message: str) -> None:
    """Write an error answer."""
    resp.status = status
    resp.stream = None
    resp.data = error_body(status, message)
    resp.content_type = "application/json"


class _LoggedErrors:
    """Errors of our own side: a line for the operator, a few words for the client."""

    def __init__(self, proxies: TrustedProxies) -> None:
        self._proxies = proxies

    async def crash(self, req: Request, resp: Response, error: Exception, params: dict[str, Any]) -> None:
        log.error(
            "request %s failed: %s", request_id_of(req), type(error).__name__, exc_info=error, extra=self._of(req)
        )
        answer_error(resp, 500, "internal error; the x-request-id of this answer finds it in the log")

    async def unavailable(self, req: Request, resp: Response, error: StoreUnavailable, params: dict[str, Any]) -> None:
        log.warning("request %s: the database did not answer: %s", request_id_of(req), error, extra=self._of(req))
        answer_error(resp, 503, "the database does not answer: retry in a moment")
        resp.set_header("Retry-After", "1")

    def _of(self, req: Request) -> dict[str, Any]:
        return {"route": req.uri_template, "client": self._proxies.client(req.scope)}


async def _refuse(req: Request, resp: Response, error: Refusal, params: dict[str, Any]) -> None:
    answer_error(resp, error.status, error.message)
    if error.retry_after is not None:
        resp.set_header("Retry-After", str(error.retry_after))
    if error.status == 401:
        resp.set_header("WWW-Authenticate", 'Bearer realm="coatcheck"')


async def _pass_on(req: Request, resp: Response, error: DoorRefusal, params: dict[str, Any]) -> None:
    raise error  # the guard answers for it


async def _http_error(req: Request, resp: Response, error: falcon.HTTPError, params: dict[str, Any]) -> None:
    """Falcon's own refusals: unknown routes, wrong methods, headers that cannot be read."""
    headers = dict(error.headers or {})
    resp.set_headers(headers)
    answer_error(resp, error.status_code, _in_words(req, error, headers.get("Allow", "")))


def request_id_of(req: Request) -> str:
    """The id that the guard gave to this request."""
    return str(req.scope["state"]["request_id"])


def _in_words(req: Request, error: falcon.HTTPError, allowed: str) -> str:
    path = req.path[:100]
    if error.status_code == 404:
        return f"no such route: {path}; {_suggestion(path)}"
    if error.status_code == 405:
        return f"{req.scope['method'][:20]} is not allowed on this path: use {allowed}"
    return error.description or error.title or "the request cannot be read"


@lru_cache(256)  # guessing is slow, and whoever has a wrong path configured asks for it again and again
def _suggestion(path: str) -> str:
    close = difflib.get_close_matches(path, _PATHS, n=1)
    return f"did you mean {close[0]}?" if close else "/docs lists all routes"
