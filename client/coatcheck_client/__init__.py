"""Client of Coatcheck, the asynchronous front door for AI inference. `AsyncCoatcheck` is the same with `await`.

from coatcheck_client import Coatcheck

with Coatcheck() as client:  # COATCHECK_URL, COATCHECK_API_KEY
    job = client.submit("embeddings", {"model": "local/minilm", "input": "the cat sat"})
    print(client.result(job))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from coatcheck_client.endpoints import ENDPOINTS, Endpoint, UnknownRequestType, endpoint_of
from coatcheck_client.errors import ApiError, CoatcheckError, JobFailed, Unreachable, WaitTimeout
from coatcheck_client.job import Job, Status
from coatcheck_client.submission import FileSource, Submission
from coatcheck_client.version import VERSION
from coatcheck_client.window import Outcome, Progress

if TYPE_CHECKING:
    from coatcheck_client.aio import AsyncCoatcheck
    from coatcheck_client.sync import Coatcheck

__version__ = VERSION

__all__ = [
    "ENDPOINTS", "ApiError", "AsyncCoatcheck", "Coatcheck", "CoatcheckError", "Endpoint", "FileSource", "Job",
    "JobFailed", "Outcome", "Progress", "Status", "Submission", "UnknownRequestType", "Unreachable", "WaitTimeout",
    "endpoint_of",
]  # fmt: skip

_CLIENTS = {"Coatcheck": "coatcheck_client.sync", "AsyncCoatcheck": "coatcheck_client.aio"}


def __getattr__(name: str) -> Any:
    """Import the two clients on first use: with them comes httpx, which takes a tenth of a second or more."""
    if name in _CLIENTS:
        return getattr(importlib.import_module(_CLIENTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
