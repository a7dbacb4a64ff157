"""What stored documents must look like to be read. Whatever does not is set aside, not run into."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec

from shared.domain.catalogue import BY_TYPE
from shared.domain.errors import Unreadable
from shared.domain.job import ENDED, LIVE

Layout = TypeVar("Layout")
Count = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]


def checked(document: Mapping[str, Any], layout: type[Layout]) -> Layout:
    """The document as `layout`. Raises Unreadable with the field and what was expected there, never with its value."""
    try:
        return msgspec.convert(document, layout, builtin_types=(bytes, datetime, UUID))
    except msgspec.ValidationError as error:
        raise Unreadable(str(error)) from None


class StoredTarget(msgspec.Struct, kw_only=True):
    provider: str
    model: str
    params: bytes = b""


class StoredBody(msgspec.Struct, kw_only=True):
    data: bytes | None = None
    payload: Any = None
    size: int = 0
    chunks: Count = 0

    def __post_init__(self) -> None:
        if self.data is None and not (isinstance(self.payload, bytes) and len(self.payload) == 16):
            raise ValueError("neither bytes nor a reference to chunks")


class StoredRequest(StoredBody, kw_only=True):
    kind: str
    content_type: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in ("json", "multipart"):
            raise ValueError("no known kind of body")


class StoredLease(msgspec.Struct, kw_only=True):
    at: datetime
    due: datetime
    taken_over: bool
    repeats: bool = False
    crashed_before: bool = False
    began: bool | None = None


class _StoredJob(StoredTarget, kw_only=True):
    """A job, live or ended. What is not read in every place may be missing."""

    type: str
    modality: str
    created_at: datetime
    deadline_at: datetime
    fallbacks: list[StoredTarget] = []
    claims: Count = 0
    failures: Count = 0
    crashes: Count = 0
    releases: Count = 0


class StoredJob(_StoredJob, kw_only=True):
    result_ttl: Count
    request: StoredRequest | None = None
    forward: list[tuple[str, str]] = []
    extra_params: bool = False
    request_id: str = ""
    lease: StoredLease | None = None
    target: Count = 0
    attempts: list[dict[str, Any]] = []

    def __post_init__(self) -> None:
        if self.type not in BY_TYPE or BY_TYPE[self.type].modality != self.modality:
            raise ValueError("no known type of request, or not of its modality")
        if self.target > len(self.fallbacks):
            raise ValueError("a target that is not there")


class StoredView(msgspec.Struct, kw_only=True):
    type: str
    status: str
    created_at: datetime
    request_id: str = ""
    key_id: str | None = None
    fingerprint: bytes | None = None
    completed_at: datetime | None = None
    expires_at: datetime | None = None
    status_code: Count = 0
    result: StoredBody | None = None
    error: StoredBody | None = None
    requeued_as: bytes | None = None

    def __post_init__(self) -> None:
        if self.requeued_as is not None and len(self.requeued_as) != 16:
            raise ValueError("requeued as what is no id")
        if self.status in ENDED:
            if self.completed_at is None or self.expires_at is None or not (self.result or self.error):
                raise ValueError("ended without a time or a body")
        elif self.status not in LIVE:
            raise ValueError("no known status")


class StoredKey(msgspec.Struct, kw_only=True):
    id: str = msgspec.field(name="_id")
    name: str
    hint: str
    created_at: datetime
    models: tuple[str, ...] = ()
    revoked_at: datetime | None = None
    expires_at: datetime | None = None


class StoredCall(msgspec.Struct, kw_only=True):
    """A provider call in the history. Versions before this one noted no times."""

    worker: str
    provider: str
    outcome: str
    milliseconds: Count
    upstream_request_id: str = ""
    due: datetime | None = None
    claimed: datetime | None = None
    source: str = ""
    recorded: datetime | None = None


class StoredHistory(_StoredJob, kw_only=True):
    """A job without its bodies, running or ended, as operators look at it."""

    status: str
    wake_at: datetime | None = None
    completed_at: datetime | None = None
    expires_at: datetime | None = None
    requeued_as: UUID | None = None
    lease: dict[str, Any] | None = None
    attempts: list[StoredCall] = []


class StoredPause(msgspec.Struct, kw_only=True):
    channel: str = msgspec.field(name="_id")
    until: datetime


class StoredReport(msgspec.Struct, kw_only=True):
    body: bytes
    at: datetime
