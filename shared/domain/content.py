from typing import Literal

import msgspec


class Content(msgspec.Struct, frozen=True):
    """A request body, byte for byte. `content_type` is the full header value, for a form with its boundary."""

    kind: Literal["json", "multipart"]
    data: bytes
    content_type: str = "application/json"

    def __repr__(self) -> str:
        """Kind and size only: bodies hold prompts, and a repr may end up in a log."""
        return f"Content(kind={self.kind!r}, bytes={len(self.data)})"
