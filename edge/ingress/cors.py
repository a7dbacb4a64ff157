"""Browsers of allowed origins may read our answers, also the refusals of the guard (CORS, in the Fetch standard)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import falcon
from falcon.asgi import Request, Response

EXPOSED_HEADERS = ("Location", "Preference-Applied", "Retry-After", "x-request-id", "x-coatcheck-replayed")

_EXPOSED = (b"access-control-expose-headers", ", ".join(EXPOSED_HEADERS).encode())
_VARY = (b"vary", b"Origin")
_ANY = b"*"
_IN_STATE = "refusal_origins"


class CorsMiddleware(falcon.CORSMiddleware[Request, Response]):
    """Falcon's, which forgets to tell caches that answers differ by origin."""

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__("*" if "*" in allowed else allowed, expose_headers=EXPOSED_HEADERS)

    async def process_response_async(self, req: Request, resp: Response, resource: object, req_succeeded: bool) -> None:
        await super().process_response_async(req, resp, resource, req_succeeded)
        resp.append_header("Vary", "Origin")


class RefusalOrigins:
    """The same headers for answers that the application never sees; none if no origin is allowed at all."""

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        self._allowed = frozenset(origin.encode() for origin in allowed)

    def publish(self, lifespan: Mapping[str, Any]) -> None:
        """Tell the server, which refuses what its parser cannot read: by the state that a server keeps for us."""
        if "state" in lifespan:
            lifespan["state"][_IN_STATE] = self

    @staticmethod
    def published(state: Mapping[str, Any]) -> RefusalOrigins:
        origins = state.get(_IN_STATE)
        return origins if isinstance(origins, RefusalOrigins) else RefusalOrigins()

    def headers(self, origins: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
        if not self._allowed:
            return []
        if len(origins) != 1 or not {origins[0], _ANY} & self._allowed:
            return [_VARY]
        allowed = _ANY if _ANY in self._allowed else origins[0]
        return [(b"access-control-allow-origin", allowed), _EXPOSED, _VARY]
