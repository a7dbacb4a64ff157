"""Virtual keys as operators manage them. A secret is returned once; stored is its hash."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import uuid4

from bson.binary import Binary
from pymongo import ReturnDocument

from shared.domain import virtual_keys
from shared.domain.errors import CoatcheckError
from shared.domain.store_interface import VirtualKey
from shared.mongo.connection.client import Database
from shared.mongo.documents.codec import decode_key
from shared.mongo.documents.unreadable import sorted_out

MAX_LISTED = 10_000
_MAX_LINES = 20
USABLE: dict[str, object] = {
    "revoked_at": None,
    "$or": [{"expires_at": None}, {"$expr": {"$gt": ["$expires_at", "$$NOW"]}}],
}
log = logging.getLogger(__name__)


class NameTaken(CoatcheckError):
    """A name that does not lead to one key."""


class KeyStore:
    """Every verb raises StoreUnavailable when the database does not answer."""

    def __init__(self, database: Database) -> None:
        self._db = database

    async def create(
        self, name: str, models: Sequence[str] = (), expires_at: datetime | None = None
    ) -> tuple[VirtualKey, str]:
        """Make a key, for all models without `models`, and return it with its secret. Raises NameTaken."""
        secret, key_id = virtual_keys.new_secret(), uuid4().hex
        made = {
            "_id": key_id,
            **_secret_fields(secret),
            "models": list(models),
            "created_at": self._db.now(),
            **({"expires_at": expires_at} if expires_at else {}),
        }
        with self._db.bounded("storing a key"):
            # One statement looks and inserts: two who make keys of one name hardly ever both succeed.
            which = {"name": {"$eq": name}, "revoked_at": None}
            document = await self._db.keys.find_one_and_update(
                which, {"$setOnInsert": made}, upsert=True, return_document=ReturnDocument.AFTER
            )
        if document is None or document["_id"] != key_id:
            raise NameTaken(f"there is a key called '{name}' already: rotate or revoke it, or take another name")
        return decode_key(document), secret

    async def named(self, id_or_name: str) -> str | None:
        """The id of the key with this id, or of the one with this name that is not revoked, if there is one.

        Raises NameTaken when several keys, made before names were unique, share it.
        """
        with self._db.bounded("reading keys"):
            if await self._db.keys.find_one({"_id": {"$eq": id_or_name}}, {"_id": True}):
                return id_or_name
            named = {"name": {"$eq": id_or_name}, "revoked_at": None}
            found = await self._db.keys.find(named, {"_id": True}).limit(_MAX_LINES).to_list()
        if len(found) > 1:
            ids = ", ".join(str(each["_id"]) for each in found)
            raise NameTaken(f"several keys are called '{id_or_name}': say which by its id, one of {ids}")
        return str(found[0]["_id"]) if found else None

    async def list(self) -> list[VirtualKey]:
        """All keys that can be read, revoked ones too, oldest first."""
        with self._db.bounded("reading keys"):
            documents = await self._db.keys.find().sort("created_at", 1).limit(MAX_LISTED).to_list()
        keys, problems = sorted_out(documents, decode_key)
        for key_id, problem in problems[:_MAX_LINES]:
            log.warning("key %s cannot be read, it opens nothing: %s", repr(key_id)[:40], problem)
        return keys

    async def usable(self) -> bool:
        with self._db.bounded("reading keys"):
            return await self._db.keys.find_one(USABLE, {"_id": True}) is not None

    async def revoke(self, key_id: str) -> VirtualKey | None:
        """Revoke a key for ever; None when there is no such key. Revoking twice keeps the first time."""
        return await self._update({"_id": key_id}, {"revoked_at": {"$ifNull": ["$revoked_at", "$$NOW"]}})

    async def rotate(self, key_id: str) -> tuple[VirtualKey, str] | None:
        """Give a key a new secret; None when there is no such key or it is revoked. Its jobs stay visible to it."""
        secret = virtual_keys.new_secret()
        fields = {name: {"$literal": value} for name, value in _secret_fields(secret).items()}
        key = await self._update({"_id": key_id, "revoked_at": None}, fields)
        return (key, secret) if key else None

    async def _update(self, which: dict[str, object], fields: Mapping[str, object]) -> VirtualKey | None:
        with self._db.bounded("storing a key"):
            document = await self._db.keys.find_one_and_update(
                which, [{"$set": fields}], return_document=ReturnDocument.AFTER
            )
        return decode_key(document) if document else None


def _secret_fields(secret: str) -> dict[str, object]:
    return {"hash": Binary(virtual_keys.hash_secret(secret)), "hint": virtual_keys.hint(secret)}
