"""What the master process was asked for, as its server processes inherit it by the fork."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge.ingress.asgi_types import ASGIApp
    from edge.ingress.limits import ConnectionLimits

BACKLOG = 2048
BAD_SETTINGS_EXIT = 4
"""With this exit code of a server process gunicorn's master stops instead of starting the next one."""


@dataclass(frozen=True, slots=True)
class ServeOptions:
    app: str | Callable[[], ASGIApp]
    graceful_timeout: float
    startup_timeout: float
    limits: ConnectionLimits | None
    on_refuse: Callable[[str], None]
