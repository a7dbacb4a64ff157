"""Every error as the contract's JSON body, whatever the client accepts; nothing internal leaves this process."""

from __future__ import annotations

import difflib
import logging
from functools import lru_cache
from typing import Any

import falcon
from falcon.asgi import App, Request, Response

from edge.ingress.forwarded import TrustedProxies
from edge.ingress.rejection import RequestRejected, error_body
from shared.domain.catalogue import CATALOGUE
from shared.domain.errors import Refusal, StoreUnavailable, Unreadable

log = logging.getLogger(__name__)

_PATHS = [endpoint.path for endpoint in CATALOGUE]
_PATHS += ["/openai/v1/responses", "/v1/models", "/openai/v1/models", "/docs"]
_CODES = {404: "no_such_route", 405: "method_not_allowed"}


class Unauthenticated(Refusal):
    status = 401
    code = "missing_key"

    def __init__(self) -> None:
        how = "send 'Authorization: Bearer sk-bf-...' or 'x-bf-vk'; `coatcheck keys create` makes one"
        super().__init__(f"a virtual key is needed: {how}")


class TooLarge(Refusal):
    status = 413
    code = "large_body"


class StillRunning(Refusal):
    status = 504
    code = "still_running"


class ClientGone(Refusal):
    """Only the metrics see this answer."""

    status = 499
    code = "client_gone"

    def __init__(self) -> None:
        super().__init__("the client hung up while it waited for the job, which goes on")


def install(app: App[Request, Response], proxies: TrustedProxies) -> None:
    log_errors = _LoggedErrors(proxies)
    app.add_error_handler(Exception, log_errors.crash)
    app.add_error_handler(StoreUnavailable, log_errors.unavailable)
    app.add_error_handler(Unreadable, log_errors.unreadable)
    app.add_error_handler(falcon.HTTPError, _http_error)
    app.add_error_handler(Refusal, _refuse)
    app.add_error_handler(RequestRejected, _pass_on)


def answer_error(resp: Response, status: int, message: str, code: str, retry_after: int | None = None) -> None:
    """`retry_after` is in seconds."""
    resp.status = status
    resp.stream = None
    resp.data = error_body(status, message, code)
    resp.content_type = "application/json"
    if retry_after is not None:
        resp.set_header("Retry-After", str(retry_after))


class _LoggedErrors:
    """Of our own side: a line for the operator, a few words for the client."""

    def __init__(self, proxies: TrustedProxies) -> None:
        self._proxies = proxies

    async def crash(self, req: Request, resp: Response, error: Exception, params: dict[str, Any]) -> None:
        self._log(logging.ERROR, req, "request %s failed: %s", type(error).__name__, error)
        answer_error(resp, 500, "internal error; the x-request-id of this answer finds it in the log", "internal_error")

    async def unavailable(self, req: Request, resp: Response, error: StoreUnavailable, params: dict[str, Any]) -> None:
        self._log(logging.WARNING, req, "request %s: the database did not answer: %s", error)
        answer_error(resp, 503, "the database does not answer: retry in a moment", "database_unavailable", 1)

    async def unreadable(self, req: Request, resp: Response, error: Unreadable, params: dict[str, Any]) -> None:
        self._log(logging.ERROR, req, "request %s: what is stored cannot be read: %s", error)
        message = "what is stored for this request cannot be read; its x-request-id finds it in the log"
        answer_error(resp, 500, message, "unreadable")

    def _log(self, level: int, req: Request, line: str, cause: object, trace: Exception | None = None) -> None:
        about = {"route": req.uri_template, "client": self._proxies.client(req.scope)}
        log.log(level, line, request_id_of(req), cause, exc_info=trace, extra=about)


async def _refuse(req: Request, resp: Response, error: Refusal, params: dict[str, Any]) -> None:
    answer_error(resp, error.status, error.message, error.code, error.retry_after)
    if error.status == 401:
        resp.set_header("WWW-Authenticate", 'Bearer realm="coatcheck"')


async def _pass_on(req: Request, resp: Response, error: RequestRejected, params: dict[str, Any]) -> None:
    raise error  # the guard answers for it


async def _http_error(req: Request, resp: Response, error: falcon.HTTPError, params: dict[str, Any]) -> None:
    """Falcon's own refusals: unknown routes, wrong methods, headers that cannot be read."""
    headers = dict(error.headers or {})
    resp.set_headers(headers)
    path = req.path[:100]
    if error.status_code == 404:
        message = f"no such route: {path}; {_suggestion(path)}"
    elif error.status_code == 405:
        message = f"{req.scope['method'][:20]} is not allowed on this path: use {headers.get('Allow', '')}"
    else:
        message = error.description or error.title or "the request cannot be read"
    answer_error(resp, error.status_code, message, _CODES.get(error.status_code, "invalid_request"))


def request_id_of(req: Request) -> str:
    return str(req.scope["state"]["request_id"])


@lru_cache(256)  # guessing is slow, and a wrong path in a configuration is asked for again and again
def _suggestion(path: str) -> str:
    close = difflib.get_close_matches(path, _PATHS, n=1)
    return f"did you mean {close[0]}?" if close else "/docs lists all routes"
