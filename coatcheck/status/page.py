"""The status page over HTTP: who may see it, its files, and the facts as JSON. Read-only."""

from __future__ import annotations

import base64
import binascii
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
from shared.admin import Answer
from shared.errors import CoatcheckError, SettingsError
from shared.ids import parse_job_id
from shared.settings import Settings

if TYPE_CHECKING:
    from coatcheck.status.reader import StatusReader

MIN_TOKEN = 16
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
_CLOSED = (
    "the status page is off: set COATCHECK_ADMIN_TOKEN (or COATCHECK_ADMIN_TOKEN_FILE), or listen on loopback only"
)


class StatusPage:
    """Answers what begins with /status. With an admin token, only to those who send it; without one, only on loopback
    and only under a name of this machine, so that no other site's page can ask through a browser."""

    def __init__(self, settings: Settings, reader: StatusReader | None = None) -> None:
        self._token = settings.admin_token.encode()
        if 0 < len(self._token) < MIN_TOKEN:
            raise SettingsError(f"admin_token is too short to be safe: give it {MIN_TOKEN} characters at least")
        self._loopback = _is_loopback(settings.admin_host)
        self._settings = settings
        self._given = reader
        self._files: dict[str, bytes] = {}

    @functools.cached_property
    def _reader(self) -> StatusReader:
        """Made at the first look: the master of an edge does without the driver as long as nobody asks it."""
        from coatcheck.status.reader import StatusReader  # noqa: PLC0415 - see above

        return self._given or StatusReader(self._settings)

    @property
    def open(self) -> bool:
        """Whether anybody may see it."""
        return bool(self._token) or self._loopback

    def answer(self, path: str, headers: Message) -> Answer | None:
        """The answer to a GET; None for a path that is not the page's."""
        if path == "/" and self.open and "text/html" in headers.get("Accept", ""):
            return Answer(HTTPStatus.FOUND, "text/plain; charset=utf-8", b"", (("Location", PATH.lstrip("/")),))
        if path != PATH and not path.startswith(f"{PATH}/"):
            return None
        refused = self._refuse(headers)
        return refused or self._found(path)

    def _refuse(self, headers: Message) -> Answer | None:
        if self._token:
            if hmac.compare_digest(_sent_token(headers.get("Authorization", "")), self._token):
                return None
            return _text(HTTPStatus.UNAUTHORIZED, "the admin token is needed", _CHALLENGE)
        if self._loopback and _is_loopback(_host_of(headers.get("Host", ""))):
            return None
        return _text(HTTPStatus.FORBIDDEN, _CLOSED)

    def _found(self, path: str) -> Answer:
        if path in _FILES:
            name, media_type = _FILES[path]
            return Answer(HTTPStatus.OK, media_type, self._file(name), _HEADERS)
        if path == f"{PATH}/facts":
            return _json(self._reader.facts)
        if path.startswith(f"{PATH}/job/"):
            return self._job(path.removeprefix(f"{PATH}/job/"))
        return _text(HTTPStatus.NOT_FOUND, "not found")

    def _job(self, text: str) -> Answer:
        job_id = parse_job_id(text)
        if job_id is None:
            return _text(
                HTTPStatus.BAD_REQUEST, "that is no job id: one looks like 019ac0de-0000-7000-8000-000000000000"
            )
        return _json(lambda: told(self._reader.history(job_id)))

    def _file(self, name: str) -> bytes:
        if name not in self._files:
            self._files[name] = (resources.files(__package__) / name).read_bytes()
        return self._files[name]


def told(history: dict[str, Any] | None) -> dict[str, Any]:
    """A job's history for people: its steps, and no text that stems from a request."""
    if history is None:
        raise LookupError
    shown = ("id", "type", "modality", "status", "targets", "claims", "failures", "crashes", "releases", "created_at")
    sizes = ("deadline_at", "expires_at", "status_code", "request_bytes", "result_bytes")
    facts = {name: history[name] for name in (*shown, *sizes) if name in history}
    if "error" in history:
        facts["error"] = words_of(history["error"])
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
    value = value.strip()
    if scheme.lower() == "bearer":
        return value.encode("utf-8", "replace")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""


def _host_of(header: str) -> str:
    """The host of a Host header without its port."""
    host = header.rpartition(":")[0] if header.rpartition(":")[2].isdecimal() else header
    return host.removeprefix("[").removesuffix("]")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
