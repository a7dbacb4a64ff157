"""Jobs as BSON documents and back. Bodies are opaque bytes, so nothing a client sends can be structure or a query."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import bson
from bson.binary import Binary, UuidRepresentation
from bson.codec_options import CodecOptions
from bson.errors import BSONError

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


def encode_new(job: NewJob, ref: PayloadRef | None) -> bytes:
    """Encode an accepted job, pending and due at once. Raises BadRequest for what BSON cannot hold."""
    first, *fallbacks = job.targets
    document: Document = {
        "_id": job.id,
        "v": DOCUMENT_VERSION,
        "type": job.request_type,
        "modality": job.modality,
        **_encode_target(first),
        "request_id": job.request_id,
        "status": Status.PENDING.value,
        "request": {"kind": job.content.kind, "content_type": job.content.content_type}
        | encode_body(job.content.data if ref is None else ref),
        "wake_at": job.created_at - _CLOCK_SLACK,
        "created_at": job.created_at,
        "deadline_at": job.deadline_at,
        "result_ttl": job.result_ttl,
    }
    optional: Document = {
        "fallbacks": [_encode_target(target) for target in fallbacks],
        "forward": [list(pair) for pair in job.forward],
        "extra_params": job.extra_params,
        "key_id": job.key_id,
        "fingerprint": Binary(job.fingerprint) if job.fingerprint else None,
    }
    document.update({name: value for name, value in optional.items() if value})
    try:
        return bson.encode(document, codec_options=_CODEC)
    except (BSONError, UnicodeError, OverflowError) as error:
        raise BadRequest(f"the request has text that cannot be stored: {type(error).__name__}") from None


def _encode_target(target: Target) -> Document:
    encoded: Document = {"provider": target.provider, "model": target.model}
    if target.params:
        encoded["params"] = Binary(target.params)
    return encoded


def _decode_target(document: Document) -> Target:
    return Target(provider=document["provider"], model=document["model"], params=bytes(document.get("params", b"")))


def encode_body(body: bytes | PayloadRef) -> Document:
    """Inline bytes, or where the chunks are."""
    if isinstance(body, PayloadRef):
        return {"payload": body.payload_id, "size": body.size, "chunks": body.chunks}
    return {"data": Binary(body)}


def decode_body(document: Document) -> bytes | PayloadRef:
    """The reverse of `encode_body`."""
    if "payload" in document:
        return PayloadRef(document["payload"], document["size"], document["chunks"])
    return bytes(document["data"])


def decode_view(document: Document) -> JobView:
    """What a poller may see, from a document read with VIEW_FIELDS."""
    body = document.get("result") or document.get("error")
    fingerprint = document.get("fingerprint")
    return JobView(
        id=document["_id"],
        request_type=document["type"],
        status=Status(document["status"]),
        created_at=document["created_at"],
        request_id=document.get("request_id", ""),
        key_id=document.get("key_id"),
        fingerprint=bytes(fingerprint) if fingerprint else None,
        completed_at=document.get("completed_at"),
        expires_at=document.get("expires_at"),
        status_code=document.get("status_code", 0),
        body=decode_body(body) if body else None,
    )


def decode_claimed(document: Document) -> ClaimedJob:
    """What a worker holds, from a document read right after the claim."""
    request, lease = document["request"], document["lease"]
    claimed_at: datetime = lease["at"]
    body = decode_body(request)
    kind, content_type = request["kind"], request["content_type"]
    return ClaimedJob(
        id=document["_id"],
        request_type=document["type"],
        modality=document["modality"],
        targets=tuple(_decode_target(each) for each in (document, *document.get("fallbacks", ()))),
        content=body if isinstance(body, PayloadRef) else Content(kind, body, content_type),
        content_kind=kind,
        content_type=content_type,
        forward=tuple((name, value) for name, value in document.get("forward", ())),
        extra_params=document.get("extra_params", False),
        request_id=document.get("request_id", ""),
        lease=lease["id"],
        taken_over=lease["taken_over"],
        claims=document["claims"],
        failures=document.get("failures", 0),
        target=document.get("target", 0),
        crashes=document.get("crashes", 0),
        releases=document.get("releases", 0),
        created_at=document["created_at"],
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
