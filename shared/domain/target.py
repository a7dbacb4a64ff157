import msgspec


class Target(msgspec.Struct, frozen=True):
    """Where an attempt goes. `params` is a JSON object that overrides fields of the request body, or empty."""

    provider: str
    model: str
    params: bytes = b""
