"""Who asks: from the secret of a virtual key to the key, looked up by hash and remembered for seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from fnmatch import fnmatchcase

from edge.http.errors import Unauthenticated
from edge.ingress.concurrency import WaitingLimit
from shared.domain.errors import BadRequest, Forbidden
from shared.domain.store_interface import EdgeStore, VirtualKey
from shared.domain.target import Target
from shared.domain.virtual_keys import hash_secret

KNOWN_SECONDS = 5.0
"""How long a key goes on working after it was revoked, at most."""
UNKNOWN_SECONDS = 1.0
"""How long a new key may be refused because it was tried before it existed."""
MAX_REMEMBERED = 10_000
MAX_LOOKUPS = 32
"""Lookups in the database at a time: a flood of invented keys must not crowd out the jobs."""


class KeyLookup:
    """Looks keys up, each once however many requests wait for it. Remembers hits and misses, both bounded."""

    def __init__(self, store: EdgeStore, clock: Callable[[], float], *, allow_anonymous: bool) -> None:
        self._store = store
        self._clock = clock
        self._allow_anonymous = allow_anonymous
        self._remembered: dict[bytes, tuple[float, VirtualKey | None]] = {}
        self._lookups: dict[bytes, asyncio.Task[VirtualKey | None]] = {}
        self._places = WaitingLimit(MAX_LOOKUPS, 1.0, "too many virtual keys are being looked up: retry in a moment")

    def require(self, secret: bytes | None) -> None:
        """Raise Unauthenticated when a key is needed and none was sent. Needs no I/O."""
        if secret is None and not self._allow_anonymous:
            raise Unauthenticated

    async def submitter(self, secret: bytes | None) -> VirtualKey | None:
        """The key of a submit, None without one. Raises BadRequest for a key that is unknown or revoked."""
        if secret is None:
            return None
        if (key := await self.find(secret)) is None:
            raise BadRequest("the virtual key is unknown or revoked: `coatcheck keys list` shows the valid ones")
        return key

    async def find(self, secret: bytes) -> VirtualKey | None:
        """The key with this secret, or None. May be as old as the times above."""
        digest = hash_secret(secret.decode("utf-8", "surrogateescape"))
        remembered = self._remembered.get(digest)
        if remembered is not None and remembered[0] > self._clock():
            return remembered[1]
        if (lookup := self._lookups.get(digest)) is None:
            self._lookups[digest] = lookup = asyncio.create_task(self._look_up(digest), name="key")
            lookup.add_done_callback(lambda done: self._looked_up(digest, done))
        return await asyncio.shield(lookup)

    def _looked_up(self, digest: bytes, done: asyncio.Task[VirtualKey | None]) -> None:
        del self._lookups[digest]
        if not done.cancelled():
            done.exception()  # retrieved, or asyncio logs it as never retrieved when all waiting clients have hung up

    async def _look_up(self, digest: bytes) -> VirtualKey | None:
        async with self._places:
            asked = self._clock()
            key = await self._store.find_key(digest)
        if len(self._remembered) >= MAX_REMEMBERED:
            self._forget_some(asked)
        self._remembered[digest] = (asked + (KNOWN_SECONDS if key else UNKNOWN_SECONDS), key)
        return key

    def _forget_some(self, now: float) -> None:
        """Drop what is over, or else all: that only costs lookups."""
        self._remembered = {digest: entry for digest, entry in self._remembered.items() if entry[0] > now}
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()


def permits(key: VirtualKey | None, target: Target) -> bool:
    """Whether a key may use a target, by its list of `provider/model` names, in which `*` stands for anything."""
    if key is None or not key.models:
        return True
    name = f"{target.provider}/{target.model}"
    return any(fnmatchcase(name, pattern) for pattern in key.models)


def permitted(key: VirtualKey | None, targets: tuple[Target, ...]) -> tuple[Target, ...]:
    """The targets that a key may use. Raises Forbidden when the first is not one; fallbacks are dropped."""
    if key is None or not key.models:
        return targets
    first = targets[0]
    if not permits(key, first):
        model = f"model '{first.provider}/{first.model}'"
        raise Forbidden(f"the virtual key '{key.name}' may not use {model}: its list of models does not hold it")
    return tuple(target for target in targets if permits(key, target))
