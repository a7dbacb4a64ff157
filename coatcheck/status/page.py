"""The status page over HTTP: who may see it, its files, and the facts as JSON. Read-only."""

from __future__ import annotations

import base64
import contextlib
import functools
import hmac
import ipaddress
from collections.abc import Callable
from email.message import Message
from http import HTTPStatus
from importlib import resources
from typing import TYPE_CHECKING, Any

import msgspec

from coatcheck.status.causes import words_of
from coatcheck.status.timeline import timeline
from shared.domain.errors import CoatcheckError
from shared.domain.ids import parse_job_id
from shared.settings.table import Settings
from shared.telemetry.admin_server import Answer

if TYPE_CHECKING:
    from coatcheck.status.reader import StatusReader

PATH = "/status"
_FILES = {
    PATH: ("page.html", "text/html; charset=utf-8"),
    f"{PATH}/page.css": ("page.css", "text/css; charset=utf-8"),
    f"{PATH}/page.js": ("page.js", "text/javascript; charset=utf-8"),
    f"{PATH}/icon.svg": ("icon.svg", "image/svg+xml"),
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)
_CHALLENGE = (("WWW-Authenticate", 'Basic realm="coatcheck status, any user, the admin token as password"'),)
_OFF = "the status page is off: set COATCHECK_ADMIN_TOKEN (or COATCHECK_ADMIN_TOKEN_FILE), or listen on loopback only"
_NO_ID = HTTPStatus.BAD_REQUEST, "that is no job id: one looks like 019ac0de-0000-7000-8000-000000000000"


class StatusPage:
    """Answers what begins with /status. With an admin token, only to those who send it; without one, only on loopback
    and only under a name of this machine, so that no other site's page can ask through a browser."""

    def __init__(self, settings: Settings, reader: StatusReader | None = None) -> None:
        self._token = settings.admin_token.encode()
        self._loopback = _is_loopback(settings.admin_host)
        self._settings = settings
        self._given = reader

    @functools.cached_property
    def _reader(self) -> StatusReader:
        """Made at the first look: the master of an edge does without the driver as long as nobody asks it."""
        from coatcheck.status.reader import StatusReader  # noqa: PLC0415 - see above

        return self._given or StatusReader(self._settings)

    @property
    def open(self) -> bool:
        return bool(self._token) or self._loopback

    def answer(self, path: str, headers: Message) -> Answer | None:
        """The answer to a GET; None for a path that is not the page's."""
        if path == "/" and self.open and "text/html" in headers.get("Accept", ""):
            return Answer(HTTPStatus.FOUND, "text/plain; charset=utf-8", b"", (("Location", PATH.lstrip("/")),))
        if path != PATH and not path.startswith(f"{PATH}/"):
            return None
        return self._refuse(headers) or self._found(path)

    def _refuse(self, headers: Message) -> Answer | None:
        if self._token:
            if hmac.compare_digest(_sent_token(headers.get("Authorization", "")), self._token):
                return None
            return _text(HTTPStatus.UNAUTHORIZED, "the admin token is needed", _CHALLENGE)
        if self._loopback and _is_loopback(_host_of(headers.get("Host", ""))):
            return None
        return _text(HTTPStatus.FORBIDDEN, _OFF)

    def _found(self, path: str) -> Answer:
        if path in _FILES:
            name, media_type = _FILES[path]
            return Answer(HTTPStatus.OK, media_type, _file(name), _HEADERS)
        if path == f"{PATH}/facts":
            return _json(self._reader.facts)
        if path.startswith(f"{PATH}/job/"):
            job_id = parse_job_id(path.removeprefix(f"{PATH}/job/"))
            return _json(lambda: told(self._reader.history(job_id))) if job_id else _text(*_NO_ID)
        return _text(HTTPStatus.NOT_FOUND, "not found")


@functools.cache
def _file(name: str) -> bytes:
    return (resources.files(__package__) / name).read_bytes()


def told(history: dict[str, Any] | None) -> dict[str, Any]:
    """A job's history for people: its steps, and no text that stems from a request."""
    if history is None:
        raise LookupError
    shown = ("id", "type", "modality", "status", "targets", "claims", "failures", "crashes", "releases", "created_at")
    sizes = ("deadline_at", "expires_at", "status_code", "request_bytes", "result_bytes")
    facts = {name: history[name] for name in (*shown, *sizes) if name in history}
    if "error" in history:
        facts["error"] = words_of(history["error"], history["targets"][-1])
    return facts | {"timeline": timeline(history, history["now"])}


def _json(produce: Callable[[], Any]) -> Answer:
    try:
        body = msgspec.json.encode(produce())
    except LookupError:
        return _text(HTTPStatus.NOT_FOUND, "no such job: it was never accepted, or its time is up")
    except CoatcheckError as error:
        return _text(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
    return Answer(HTTPStatus.OK, "application/json", body, _HEADERS)


def _text(status: HTTPStatus, text: str, more: tuple[tuple[str, str], ...] = ()) -> Answer:
    return Answer(status, "text/plain; charset=utf-8", f"{text}\n".encode(), (*_HEADERS, *more))


def _sent_token(authorization: str) -> bytes:
    """The token of a Bearer or Basic header; the user name of Basic does not matter."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip().encode("utf-8", "replace")
    if scheme.lower() == "basic":
        with contextlib.suppress(ValueError):
            return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
    return b""


def _host_of(header: str) -> str:
    host = header.rpartition(":")[0] if header.rpartition(":")[2].isdecimal() else header
    return host.removeprefix("[").removesuffix("]")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
