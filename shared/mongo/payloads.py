"""Large bodies in numbered chunks beside the jobs. Each chunk carries its own expiry, so no orphan lives for ever."""

from __future__ import annotations

from datetime import datetime
from uuid import uuid4

from bson.binary import Binary

from shared.job import PayloadRef
from shared.mongo.client import Database

CHUNK_BYTES = 8 * 1024 * 1024
"""Half of MongoDB's limit of 16 MB for a document, so that framing never matters."""


async def write(database: Database, data: bytes, expires_at: datetime) -> PayloadRef:
    """Write all chunks, journaled by a majority, and return the reference to put into a job."""
    payload_id = uuid4()
    pieces = [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]
    for number, piece in enumerate(pieces):
        await database.payloads.insert_one(
            {"_id": {"payload": payload_id, "n": number}, "data": Binary(piece), "expires_at": expires_at}
        )
    return PayloadRef(payload_id, len(data), len(pieces))


async def read_chunk(database: Database, ref: PayloadRef, number: int) -> bytes:
    """One chunk. Raises LookupError when it is gone."""
    chunk = await database.payloads.find_one({"_id": {"payload": ref.payload_id, "n": number}})
    if chunk is None:
        raise LookupError(f"chunk {number} of {ref.chunks} is gone")
    return bytes(chunk["data"])


async def read_all(database: Database, ref: PayloadRef) -> bytes:
    """All chunks. Raises LookupError when one is gone."""
    return b"".join([await read_chunk(database, ref, number) for number in range(ref.chunks)])
