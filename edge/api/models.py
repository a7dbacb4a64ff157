"""GET /v1/models: what can be asked for, in OpenAI's list shape, as far as the caller's key allows it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from falcon.asgi import Request, Response

from edge.http.errors import Unauthenticated
from edge.http.request_headers import read_headers
from edge.submit.auth import KeyLookup, permits
from shared.domain.target import Target
from shared.providers.config import ProviderConfig

PATHS = ("/v1/models", "/openai/v1/models")


class ModelsResource:
    """The models that the configuration names. Others may work too: a provider knows its own."""

    def __init__(self, providers: Mapping[str, ProviderConfig], key_lookup: KeyLookup) -> None:
        self._key_lookup = key_lookup
        self._targets = [Target(name, model) for name, config in sorted(providers.items()) for model in config.models]

    async def on_get(self, req: Request, resp: Response) -> None:
        """A key that is unknown is answered like none at all."""
        secret = read_headers(req.scope["headers"]).virtual_key
        self._key_lookup.require(secret)
        key = None if secret is None else await self._key_lookup.find(secret)
        if secret is not None and key is None:
            raise Unauthenticated
        listed = [
            {"id": f"{each.provider}/{each.model}", "object": "model", "created": 0, "owned_by": each.provider}
            for each in self._targets
            if permits(key, each)
        ]
        resp.data = msgspec.json.encode({"object": "list", "data": listed})

    on_head = on_get
