"""Virtual keys as operators manage them. A secret is returned once, at its creation; stored is its hash."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from bson.binary import Binary
from pymongo import ReturnDocument

from shared import virtual_keys
from shared.mongo.client import Database
from shared.mongo.codec import decode_key
from shared.store import VirtualKey

MAX_LISTED = 10_000


class KeyStore:
    """Create, list, revoke, rotate. Every verb raises StoreUnavailable when the database does not answer."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def create(self, name: str, models: Sequence[str] = ()) -> tuple[VirtualKey, str]:
        """Make a key and return it with its secret. No models means all models."""
        secret = virtual_keys.new_secret()
        document = {
            "_id": uuid4().hex,
            **_secret_fields(secret),
            "name": name,
            "models": list(models),
            "created_at": self._db.now(),
        }
        with self._db.bounded("storing a key"):
            await self._db.keys.insert_one(document)
        return decode_key(document), secret

    async def list(self) -> list[VirtualKey]:
        """All keys, revoked ones too, oldest first."""
        with self._db.bounded("reading keys"):
            documents = await self._db.keys.find().sort("created_at", 1).limit(MAX_LISTED).to_list()
        return [decode_key(document) for document in documents]

    async def usable(self) -> bool:
        """Whether there is a key that is not revoked."""
        with self._db.bounded("reading keys"):
            return await self._db.keys.find_one({"revoked_at": None}, {"_id": True}) is not None

    async def revoke(self, key_id: str) -> VirtualKey | None:
        """Revoke a key for ever; None when there is no such key. Revoking twice keeps the first time."""
        return await self._update({"_id": key_id}, {"revoked_at": {"$ifNull": ["$revoked_at", "$$NOW"]}})

    async def rotate(self, key_id: str) -> tuple[VirtualKey, str] | None:
        """Give a key a new secret, the old one ends; None when there is no such key or it is revoked.

        The key keeps its id, so its jobs stay visible to it.
        """
        secret = virtual_keys.new_secret()
        key = await self._update({"_id": key_id, "revoked_at": None}, _literals(_secret_fields(secret)))
        return (key, secret) if key else None

    async def _update(self, which: dict[str, object], fields: dict[str, object]) -> VirtualKey | None:
        with self._db.bounded("storing a key"):
            document = await self._db.keys.find_one_and_update(
                which, [{"$set": fields}], return_document=ReturnDocument.AFTER
            )
        return decode_key(document) if document else None


def _secret_fields(secret: str) -> dict[str, object]:
    return {"hash": Binary(virtual_keys.hash_secret(secret)), "hint": virtual_keys.hint(secret)}


def _literals(fields: dict[str, object]) -> dict[str, object]:
    return {name: {"$literal": value} for name, value in fields.items()}
