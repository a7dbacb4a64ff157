"""The connection: concerns, time-outs, the refusal of a standalone mongod, and the database's clock."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Literal

import pymongo
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions
from pymongo import AsyncMongoClient, ReadPreference, WriteConcern
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ConfigurationError, InvalidURI, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern

from shared.errors import SettingsError, StoreUnavailable
from shared.look_up import bound_look_ups
from shared.metrics import CLOCK_OFFSET, STORE_CALLS, STORE_FAILURES
from shared.settings import Settings

Role = Literal["edge", "fleet", "keeper", "operator"]
Document = dict[str, Any]

MAJORITY = WriteConcern(w="majority", j=True)
_UNAUTHORIZED, _LOGIN_REFUSED = 13, 18
_CLOCK_INTERVAL = 10.0
_WAIT_LOG_INTERVAL = 5.0
_RETRY_INTERVAL = 0.1
# Times are in UTC anyway; named as tzinfo it would cost a conversion of each, as much as all the rest of a document.
_CODEC: CodecOptions[Document] = CodecOptions(tz_aware=True, uuid_representation=UuidRepresentation.STANDARD)

log = logging.getLogger(__name__)

_calls, _failures = cache(STORE_CALLS.labels), cache(STORE_FAILURES.labels)


@contextlib.contextmanager
def unavailable(what: str) -> Iterator[None]:
    """Turn the driver's errors into StoreUnavailable. The text carries the kind of error, never the address."""
    try:
        yield
    except PyMongoError as error:
        raise StoreUnavailable(f"{what}: {_reason(error)}") from error


def _reason(error: PyMongoError) -> str:
    if isinstance(error, OperationFailure):
        if "hint" in str(error):
            return "an index is missing, run `coatcheck init`"
        if error.code == _UNAUTHORIZED:
            return "the database user may not do that, `coatcheck init --print` lists the rights needed"
        if error.code == _LOGIN_REFUSED:
            return "the database refuses this user or password"
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "the server's certificate is not signed by an authority that is trusted here, see tlsCAFile"
    return type(error).__name__


class Database:
    """One client with its collections. All writes are journaled by a majority, all reads are majority reads."""

    def __init__(self, client: AsyncMongoClient[Document], name: str, timeout: float) -> None:
        self.client = client
        self.timeout = timeout
        self.raw: AsyncDatabase[Document] = client.get_database(
            name,
            codec_options=_CODEC,
            write_concern=MAJORITY,
            read_concern=ReadConcern("majority"),
            read_preference=ReadPreference.PRIMARY,
        )
        self.jobs = self.collection("jobs")
        self.payloads = self.collection("payloads")
        self.keys = self.collection("keys")
        self.pauses = self.collection("pauses")
        self.meta = self.collection("meta")
        self.reports = self.collection("reports")
        self._seen: tuple[datetime, float] | None = None  # the database's clock, and our monotonic one at that moment

    def collection(self, name: str) -> AsyncCollection[Document]:
        """A collection with the concerns above."""
        return self.raw[name]

    @contextlib.contextmanager
    def bounded(self, what: str) -> Iterator[None]:
        """Bound everything inside by the role's time-out, translate its errors and time it.

        `what` becomes a metric label: a fixed text, never one with a value in it.
        """
        failures = _failures(what)  # at 0 from the first call on, or no rate would show the first failure
        began = time.perf_counter()
        try:
            with unavailable(what), pymongo.timeout(self.timeout):
                yield
        except StoreUnavailable:
            failures.inc()
            raise
        finally:
            _calls(what).observe(time.perf_counter() - began)

    def now(self) -> datetime:
        """This moment by the database's clock, in whole milliseconds. Raises StoreUnavailable before the first look.

        Counted from the last look by the monotonic clock: whoever sets our wall clock makes no job wait for that.
        """
        if self._seen is None:
            raise StoreUnavailable("the database's clock is not known yet")
        theirs, at = self._seen
        return theirs + timedelta(milliseconds=int((time.monotonic() - at) * 1000))

    async def read_clock(self) -> None:
        """Compare clocks once; half of the round trip is taken as the way back."""
        with self.bounded("reading the clock"):
            before = time.monotonic()
            hello = await self.client.admin.command("hello")
            after = time.monotonic()
        if "setName" not in hello:
            raise SettingsError(
                "MongoDB runs standalone, without majority writes an accepted job could be lost: start mongod with "
                "--replSet rs0 and run rs.initiate() once (one node is enough for development)"
            )
        local: datetime = hello["localTime"]
        self._seen = local.replace(tzinfo=UTC), (before + after) / 2
        CLOCK_OFFSET.set((self.now() - datetime.now(UTC)).total_seconds())

    async def watch_clock(self) -> None:
        """Compare clocks for ever; often, and with a log line, until they could be compared for the first time."""
        next_line = 0.0
        while True:
            known = self._seen is not None
            await asyncio.sleep(_CLOCK_INTERVAL if known else _RETRY_INTERVAL)
            try:
                await self.read_clock()
            except (StoreUnavailable, SettingsError) as error:
                if not known and time.monotonic() >= next_line:
                    log.warning("waiting for MongoDB: %s", error)
                    next_line = time.monotonic() + _WAIT_LOG_INTERVAL
            else:
                if not known:
                    log.info("MongoDB is there")


def _client(settings: Settings, role: Role) -> AsyncMongoClient[Document]:
    edge = role == "edge"
    try:
        return AsyncMongoClient(
            settings.mongodb_uri,
            appname=f"coatcheck-{role}",
            retryWrites=True,
            heartbeatFrequencyMS=2000,
            connectTimeoutMS=2000,
            serverSelectionTimeoutMS=int(settings.mongodb_timeout_seconds * 1000) if edge else 10_000,
            waitQueueTimeoutMS=500 if edge else None,
            maxPoolSize=50,
            maxConnecting=4,
            uuidRepresentation="standard",
        )
    except (ConfigurationError, InvalidURI, ValueError) as error:
        raise SettingsError(
            f"mongodb_uri is not usable: {type(error).__name__}; expected mongodb://host:port/..."
        ) from None


@contextlib.asynccontextmanager
async def connect(
    settings: Settings, *, role: Role, wait: float = 0.0, open_without: bool = False
) -> AsyncIterator[Database]:
    """Connect in the running loop and keep the clock compared.

    Waits up to `wait` seconds for a primary, with a log line that says so. Raises SettingsError for a standalone one.
    With `open_without` there may be no primary yet: until there is one every call raises StoreUnavailable.
    """
    timeout = (
        settings.mongodb_timeout_seconds
        if role in ("edge", "operator")
        else max(10.0, settings.mongodb_timeout_seconds)
    )
    bound_look_ups()
    async with _client(settings, role) as client:
        database = Database(client, settings.mongodb_database, timeout)
        try:
            await _first_look(database, wait)
        except StoreUnavailable as error:
            if not open_without:
                raise
            log.warning("waiting for MongoDB, not ready meanwhile: %s", error)
        clock = asyncio.create_task(database.watch_clock())
        try:
            yield database
        finally:
            clock.cancel()


async def _first_look(database: Database, wait: float) -> None:
    give_up = time.monotonic() + wait
    next_line = 0.0
    while True:
        try:
            return await database.read_clock()
        except StoreUnavailable as error:
            if time.monotonic() >= give_up:
                raise StoreUnavailable(f"MongoDB has no reachable primary ({error}): check mongodb_uri") from None
            if time.monotonic() >= next_line:
                log.warning("waiting for MongoDB: no primary yet (%s)", error)
                next_line = time.monotonic() + _WAIT_LOG_INTERVAL
        await asyncio.sleep(_RETRY_INTERVAL)
