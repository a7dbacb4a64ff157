"""GET /v1/models: what can be asked for, in OpenAI's list shape, as far as the caller's key allows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from falcon.asgi import Request, Response

from edge.errors import Unauthenticated
from edge.headers import read_headers
from edge.principal import Principals, permits
from shared.providers import ProviderConfig, Target

PATHS = ("/v1/models", "/openai/v1/models")


class ModelsResource:
    """The models that the configuration names. Others may work too: a provider knows its own."""

    def __init__(self, providers: Mapping[str, ProviderConfig], principals: Principals) -> None:
        self._principals = principals
        self._targets = [Target(name, model) for name, config in sorted(providers.items()) for model in config.models]

    async def on_get(self, req: Request, resp: Response) -> None:
        """List them. A key that is unknown is answered like none at all."""
        secret = read_headers(req.scope["headers"]).virtual_key
        self._principals.require(secret)
        key = None if secret is None else await self._principals.find(secret)
        if secret is not None and key is None:
            raise Unauthenticated
        resp.data = msgspec.json.encode(
            {"object": "list", "data": [_entry(target) for target in self._targets if permits(key, target)]}
        )

    on_head = on_get


def _entry(target: Target) -> dict[str, Any]:
    name = f"{target.provider}/{target.model}"
    return {"id": name, "object": "model", "created": 0, "owned_by": target.provider}
