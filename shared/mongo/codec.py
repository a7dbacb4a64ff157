"""Jobs as BSON documents and back. Bodies are opaque bytes, so nothing a client sends can be structure or a query."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import bson
from bson.binary import UUID_SUBTYPE, Binary, UuidRepresentation
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument

from shared.content import Content
from shared.errors import BadRequest
from shared.job import DOCUMENT_VERSION, ClaimedJob, JobView, NewJob, OverdueJob, PayloadRef, Status
from shared.providers import Target
from shared.store import VirtualKey

Document = dict[str, Any]

VIEW_FIELDS = dict.fromkeys(
    [
        *("type", "key_id", "status", "request_id", "created_at", "completed_at", "expires_at"),
        *("status_code", "result", "error", "fingerprint"),
    ],
    True,
)
_CLOCK_SLACK = timedelta(milliseconds=100)
"""A new job is due this much before its time: an edge knows the database's clock to a few milliseconds only, and a bell
may be heard within one."""
CLAIM_FIELDS = {"attempts": False, "fingerprint": False, "key_id": False}

_CODEC: CodecOptions[Document] = CodecOptions(uuid_representation=UuidRepresentation.STANDARD)
PLAIN_CODEC: CodecOptions[Document] = CodecOptions()
"""For reading views and claims: times without a zone (they are UTC) and ids as bytes. Making both whole was half of a
read."""
_UUID_HEAD = b"\x10\x00\x00\x00\x04"
"""Before the 16 bytes of a UUID: their number and the subtype. The library writes a UUID by several Python calls, which
would be half the price of a job or of a read."""
_ID_HEAD = b"\x05_id\x00" + _UUID_HEAD
_STATUSES = {status.value: status for status in Status}


def encode_new(job: NewJob, ref: PayloadRef | None) -> bytes:
    """Encode an accepted job, pending and due at once. Raises BadRequest for what BSON cannot hold."""
    content = job.content
    document = {
        "v": DOCUMENT_VERSION,
        "type": job.request_type,
        "modality": job.modality,
        **_encode_target(job.targets[0]),
        "request_id": job.request_id,
        "status": "pending",
        "request": {
            "kind": content.kind,
            "content_type": content.content_type,
            **encode_body(content.data if ref is None else ref),
        },
        "wake_at": job.created_at - _CLOCK_SLACK,
        "created_at": job.created_at,
        "deadline_at": job.deadline_at,
        "result_ttl": job.result_ttl,
    }
    if len(job.targets) > 1:
        document["fallbacks"] = [_encode_target(target) for target in job.targets[1:]]
    if job.forward:
        document["forward"] = [list(pair) for pair in job.forward]
    if job.extra_params:
        document["extra_params"] = True
    if job.key_id:
        document["key_id"] = job.key_id
    if job.fingerprint:
        document["fingerprint"] = job.fingerprint
    try:
        return _with_id(job.id, bson.encode(document, codec_options=_CODEC))
    except (BSONError, UnicodeError, OverflowError) as error:
        raise BadRequest(f"the request has text that cannot be stored: {type(error).__name__}") from None


def _with_id(job_id: UUID, document: bytes) -> bytes:
    """The same document with `_id` as its first field."""
    fields = _ID_HEAD + job_id.bytes + document[4:]
    return (4 + len(fields)).to_bytes(4, "little") + fields


def binary(value: UUID) -> Binary:
    """An id as stored, for filters and updates. The library takes a UUID as well, and three times as long."""
    return Binary(value.bytes, UUID_SUBTYPE)


def with_ids(ids: Sequence[UUID]) -> RawBSONDocument:
    """The filter `{"_id": {"$in": ids}}`, encoded."""
    listed = _document([b"\x05%d\x00%b%b" % (place, _UUID_HEAD, each.bytes) for place, each in enumerate(ids)])
    return RawBSONDocument(_document([b"\x03_id\x00", _document([b"\x04$in\x00", listed])]))


def _document(elements: Sequence[bytes]) -> bytes:
    joined = b"".join(elements)
    return (len(joined) + 5).to_bytes(4, "little") + joined + b"\x00"


def _encode_target(target: Target) -> Document:
    encoded: Document = {"provider": target.provider, "model": target.model}
    if target.params:
        encoded["params"] = target.params
    return encoded


def _decode_target(document: Document) -> Target:
    return Target(provider=document["provider"], model=document["model"], params=bytes(document.get("params", b"")))


def encode_body(body: bytes | PayloadRef) -> Document:
    """Inline bytes, or where the chunks are."""
    if isinstance(body, PayloadRef):
        return {"payload": body.payload_id, "size": body.size, "chunks": body.chunks}
    return {"data": body}


def decode_body(document: Document) -> bytes | PayloadRef:
    """The reverse of `encode_body`, read with PLAIN_CODEC or any other."""
    if "payload" in document:
        payload: UUID | Binary = document["payload"]
        payload_id = payload if isinstance(payload, UUID) else payload.as_uuid()
        return PayloadRef(payload_id, document["size"], document["chunks"])
    return bytes(document["data"])


def decode_view(document: Document, job_id: UUID) -> JobView:
    """What a poller may see of that job, from a document read with VIEW_FIELDS and PLAIN_CODEC."""
    body = document.get("result") or document.get("error")
    completed_at, expires_at = document.get("completed_at"), document.get("expires_at")
    return JobView(
        id=job_id,
        request_type=document["type"],
        status=_STATUSES[document["status"]],
        created_at=document["created_at"].replace(tzinfo=UTC),
        request_id=document.get("request_id", ""),
        key_id=document.get("key_id"),
        fingerprint=document.get("fingerprint"),
        completed_at=completed_at.replace(tzinfo=UTC) if completed_at else None,
        expires_at=expires_at.replace(tzinfo=UTC) if expires_at else None,
        status_code=document.get("status_code", 0),
        body=decode_body(body) if body else None,
    )


def decode_claimed(document: Document, job_id: UUID, lease_id: UUID) -> ClaimedJob:
    """What a worker holds under that lease, from a document read with PLAIN_CODEC right after the claim."""
    request, lease = document["request"], document["lease"]
    claimed_at: datetime = lease["at"]
    body = decode_body(request)
    kind, content_type = request["kind"], request["content_type"]
    return ClaimedJob(
        id=job_id,
        request_type=document["type"],
        modality=document["modality"],
        targets=tuple(_decode_target(each) for each in (document, *document.get("fallbacks", ()))),
        content=body if isinstance(body, PayloadRef) else Content(kind, body, content_type),
        content_kind=kind,
        content_type=content_type,
        forward=tuple((name, value) for name, value in document.get("forward", ())),
        extra_params=document.get("extra_params", False),
        request_id=document.get("request_id", ""),
        lease=lease_id,
        taken_over=lease["taken_over"],
        claims=document["claims"],
        failures=document.get("failures", 0),
        target=document.get("target", 0),
        crashes=document.get("crashes", 0),
        releases=document.get("releases", 0),
        created_at=document["created_at"].replace(tzinfo=UTC),
        deadline_in=(document["deadline_at"] - claimed_at).total_seconds(),
        waited=(claimed_at - max(lease["due"], document["created_at"])).total_seconds(),
        result_ttl=document["result_ttl"],
    )


def decode_overdue(document: Document, now: datetime) -> OverdueJob:
    """What the keeper needs to explain the end of a job."""
    running = document["status"] == Status.PROCESSING.value
    return OverdueJob(
        id=document["_id"],
        request_type=document["type"],
        target=_decode_target(document),
        past_deadline=document["deadline_at"] <= now,
        started=document.get("claims", 0) > 0,
        crashes=document.get("crashes", 0) + running,
    )


def decode_key(document: Document) -> VirtualKey:
    """A virtual key, without its hash."""
    return VirtualKey(
        id=document["_id"],
        name=document["name"],
        hint=document["hint"],
        models=tuple(document.get("models", ())),
        created_at=document["created_at"],
        revoked_at=document.get("revoked_at"),
    )
