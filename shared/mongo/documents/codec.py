"""Jobs as BSON documents and back. Bodies are opaque bytes: nothing a client sends can be structure or a query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import bson
import msgspec
from bson.binary import UUID_SUBTYPE, Binary, UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument

from shared.domain.content import Content
from shared.domain.errors import BadRequest, Unreadable
from shared.domain.job import (
    DOCUMENT_VERSION,
    ClaimCandidate,
    ClaimedJob,
    ExpiredJob,
    JobView,
    NewJob,
    PayloadRef,
    Status,
)
from shared.domain.store_interface import VirtualKey
from shared.domain.target import Target
from shared.mongo.documents.claim_rules import counts_as_crash
from shared.mongo.documents.layout import StoredJob, StoredKey, StoredView, checked

Document = dict[str, Any]
VIEW_FIELDS = dict.fromkeys(StoredView.__struct_fields__, True)
_CLOCK_SLACK = timedelta(milliseconds=100)
"""A new job is due this much early: edges know the database's clock to milliseconds, a notification arrives in one."""
CLAIM_FIELDS = {"attempts": False, "fingerprint": False, "key_id": False}
_CODEC: CodecOptions[Document] = CodecOptions(uuid_representation=UuidRepresentation.STANDARD)
PLAIN_CODEC: CodecOptions[Document] = CodecOptions(
    unicode_decode_error_handler="replace", datetime_conversion=DatetimeConversion.DATETIME_CLAMP
)
"""For views and claims: times without a zone (they are UTC) and ids as bytes, for half the price of a read."""
_EPOCH = datetime.fromtimestamp(0, UTC)
_UUID_HEAD = b"\x10\x00\x00\x00\x04"
"""Length and subtype of a UUID: writing one by the library would be half the price of a job or of a read."""
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
        encoded = bson.encode(document, codec_options=_CODEC)
    except (BSONError, UnicodeError, OverflowError) as error:
        raise BadRequest(f"the request has text that cannot be stored: {type(error).__name__}") from None
    fields = _ID_HEAD + job.id.bytes + encoded[4:]
    return (4 + len(fields)).to_bytes(4, "little") + fields


def binary(value: UUID) -> Binary:
    """An id as stored, for filters and updates, at a third of what the library takes for a UUID."""
    return Binary(value.bytes, UUID_SUBTYPE)


def with_ids(ids: Sequence[UUID]) -> RawBSONDocument:
    """`{"_id": {"$in": ids}}`, encoded."""
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


def decode_targets(document: Mapping[str, Any]) -> tuple[Target, ...]:
    return tuple(_decode_target(each) for each in (document, *document.get("fallbacks", ())))


def _decode_target(document: Mapping[str, Any]) -> Target:
    return Target(provider=document["provider"], model=document["model"], params=bytes(document.get("params", b"")))


def encode_body(body: bytes | PayloadRef) -> Document:
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
    """What a poller may see of that job, from a document read with VIEW_FIELDS and PLAIN_CODEC. Raises Unreadable."""
    checked(document, StoredView)
    body = document.get("result") or document.get("error")
    completed_at, expires_at = document.get("completed_at"), document.get("expires_at")
    requeued_as = document.get("requeued_as")
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
        requeued_as=UUID(bytes=bytes(requeued_as)) if requeued_as else None,
    )


def view_or_problem(document: Document, job_id: UUID) -> JobView:
    try:
        return decode_view(document, job_id)
    except Unreadable as error:
        return JobView(job_id, "", Status.FAILED, _EPOCH, problem=str(error))


def decode_claimed(document: Document, job_id: UUID, lease_id: UUID) -> ClaimedJob:
    """What a worker holds under that lease, from a document as claimed, read with PLAIN_CODEC. Raises Unreadable."""
    stored = checked(document, StoredJob)
    if stored.request is None or stored.lease is None:
        raise Unreadable("no request or no lease")
    request, lease = document["request"], document["lease"]
    claimed_at: datetime = lease["at"]
    body = decode_body(request)
    kind, content_type = request["kind"], request["content_type"]
    return ClaimedJob(
        id=job_id,
        request_type=document["type"],
        modality=document["modality"],
        targets=decode_targets(document),
        content=body if isinstance(body, PayloadRef) else Content(kind, body, content_type),
        content_kind=kind,
        content_type=content_type,
        forward=tuple((name, value) for name, value in document.get("forward", ())),
        extra_params=document.get("extra_params", False),
        request_id=document.get("request_id", ""),
        lease=lease_id,
        taken_over=lease["taken_over"],
        repeats=lease.get("repeats", False),
        crashed_before=lease.get("crashed_before", False),
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


def decode_due(document: Document, border: int) -> ClaimCandidate:
    """What a sweep found, a suspect from that many crashes on. Raises Unreadable."""
    crashes = document.get("crashes", 0)
    if not isinstance(crashes, int):
        raise Unreadable("its crashes are no number - at `$.crashes`")
    return ClaimCandidate(job_id_of(document), suspect=crashes + counts_as_crash(document) >= border)


def decode_overdue(document: Document, now: datetime) -> ExpiredJob:
    """What the reaper needs to explain the end of a job, from a document read with PLAIN_CODEC. Raises Unreadable."""
    checked(document, StoredJob)
    return ExpiredJob(
        id=job_id_of(document),
        request_type=document["type"],
        target=_decode_target(document),
        past_deadline=document["deadline_at"].replace(tzinfo=UTC) <= now,
        started=document.get("claims", 0) > 0,
        crashes=document.get("crashes", 0) + counts_as_crash(document),
    )


def job_id_of(document: Document) -> UUID:
    """The id of a document read with PLAIN_CODEC. Raises Unreadable."""
    stored = document["_id"]
    if not isinstance(stored, Binary) or stored.subtype != UUID_SUBTYPE or len(stored) != 16:
        raise Unreadable("the id is no UUID")
    return UUID(bytes=bytes(stored))


def id_text(stored: Any) -> str:
    if isinstance(stored, bytes) and len(stored) == 16:
        return str(UUID(bytes=bytes(stored)))
    return f"odd id {str(stored)[:40]!r}"


def decode_key(document: Document) -> VirtualKey:
    """A virtual key, without its hash. Raises Unreadable."""
    return VirtualKey(**msgspec.structs.asdict(checked(document, StoredKey)))
