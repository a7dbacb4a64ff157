"""The connection and what every use of it needs: concerns, time-outs, errors, the database's clock."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Any, Literal

import pymongo
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError
from pymongo import AsyncMongoClient, ReadPreference, WriteConcern
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ConfigurationError, InvalidURI, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern

from shared.dns_timeout import bound_look_ups
from shared.domain.errors import SettingsError, StoreUnavailable
from shared.settings.table import Settings
from shared.telemetry.health import Health
from shared.telemetry.metrics import CLOCK_OFFSET, STORE_CALLS, STORE_FAILURES
from shared.telemetry.supervised import supervised_task

Role = Literal["edge", "worker", "reaper", "operator"]
Document = dict[str, Any]
DUPLICATE_KEY = 11000  # the server's code
_UNAUTHORIZED, _LOGIN_REFUSED = 13, 18
_MEMBERS = ("RSPrimary", "RSSecondary", "RSArbiter", "RSOther")
_NEVER_INITIATED = "mongod runs with --replSet, but its set was never initiated: run rs.initiate() in mongosh once"
_CLOCK_INTERVAL = 10.0
_CLOCK_TRIES = 3
_AWAY_INTERVAL = 1.0
_WAIT_LOG_INTERVAL = 5.0
_RETRY_INTERVAL = 0.1
_QUICK_SECONDS = 0.02
"""A round trip that took no longer is always believed: a new primary may have another clock."""
_DRIFT = 0.0005
"""By so much, each second, a comparison is worth less: two clocks of machines part more slowly."""
_SLEW = 0.1
"""Seconds that are made up for in each second: the clock goes a little faster or slower, it never jumps."""
_STEP_SECONDS = 5.0
"""Above that the database's own clock was set; to follow for minutes would date everything wrong meanwhile."""
_MILLISECOND = timedelta(milliseconds=1)
# No `tzinfo`: times are in UTC anyway, and it would double the price of a document. What Python cannot hold is bent:
# one document that cannot be decoded would cost everybody the whole batch.
_CODEC: CodecOptions[Document] = CodecOptions(
    tz_aware=True,
    uuid_representation=UuidRepresentation.STANDARD,
    unicode_decode_error_handler="replace",
    datetime_conversion=DatetimeConversion.DATETIME_CLAMP,
)
log = logging.getLogger(__name__)
_calls, _failures = cache(STORE_CALLS.labels), cache(STORE_FAILURES.labels)


@contextlib.contextmanager
def unavailable(what: str) -> Iterator[None]:
    """Turn the driver's errors into StoreUnavailable, whose text never carries the address."""
    try:
        yield
    except (PyMongoError, BSONError) as error:
        raise StoreUnavailable(f"{what}: {_reason(error)}") from error


def _reason(error: PyMongoError | BSONError) -> str:
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


@contextlib.contextmanager
def _explained(client: AsyncMongoClient[Document]) -> Iterator[None]:
    """Say it when there is no primary because nobody has made the servers a set: that does not pass by itself."""
    try:
        yield
    except StoreUnavailable:
        kinds = {each.server_type_name for each in client.topology_description.server_descriptions().values()}
        if "RSGhost" in kinds and kinds.isdisjoint(_MEMBERS):
            raise StoreUnavailable(_NEVER_INITIATED) from None
        raise


class DatabaseClock:
    """The time of the database: the last comparison, then our monotonic clock. Our wall clock plays no part."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._base: datetime | None = None  # at `_since`, in whole milliseconds; None before the first comparison
        self._since = 0.0
        self._shift = 0.0  # seconds still to be made up for at `_since`
        self._doubt = 0.0
        self._compared = 0.0

    def now(self) -> datetime | None:
        if self._base is None:
            return None
        return self._base + timedelta(milliseconds=int(self._gone(self._monotonic()) * 1000))

    def _gone(self, moment: float) -> float:
        elapsed = moment - self._since
        most = elapsed * _SLEW
        return elapsed + max(-most, min(most, self._shift))

    def compare(self, theirs: datetime, before: float, after: float) -> bool:
        """Believe that it was `theirs` half-way between two monotonic moments, or do not: whether it was believed."""
        moment, took = self._monotonic(), after - before
        told = theirs + timedelta(seconds=moment - (before + after) / 2)
        if self._base is None:
            self._set(told, moment, took / 2)
            return True
        if took > _QUICK_SECONDS and took / 2 > self._doubt + (moment - self._compared) * _DRIFT:
            return False
        shift = (told - self._base).total_seconds() - self._gone(moment)
        if abs(shift) > _STEP_SECONDS:
            log.warning("the database's clock was set: %+.1f s", shift)
            self._set(told, moment, took / 2)
            return True
        gone = self._gone(moment)
        whole = int(gone * 1000)
        self._base += whole * _MILLISECOND
        self._since = moment - (gone - whole / 1000)
        self._shift, self._doubt, self._compared = shift, took / 2, moment
        return True

    def _set(self, told: datetime, moment: float, doubt: float) -> None:
        self._base = told.replace(microsecond=told.microsecond // 1000 * 1000)
        self._since = moment - (told - self._base).total_seconds()
        self._shift, self._doubt, self._compared = 0.0, doubt, moment


class Database:
    """One client with its collections. All writes are journaled by a majority, all reads are majority reads."""

    def __init__(self, client: AsyncMongoClient[Document], name: str, timeout: float) -> None:
        self.client = client
        self.timeout = timeout
        self.raw: AsyncDatabase[Document] = client.get_database(
            name,
            codec_options=_CODEC,
            write_concern=WriteConcern(w="majority", j=True),
            read_concern=ReadConcern("majority"),
            read_preference=ReadPreference.PRIMARY,
        )
        self.jobs, self.payloads, self.keys = map(self.collection, ("jobs", "payloads", "keys"))
        self.pauses, self.meta, self.reports = map(self.collection, ("pauses", "meta", "reports"))
        self._clock = DatabaseClock()

    def collection(self, name: str) -> AsyncCollection[Document]:
        return self.raw[name]

    @contextlib.contextmanager
    def bounded(self, what: str) -> Iterator[None]:
        """Bound what is inside by the role's time-out, translate its errors and time it. `what` is a metric label."""
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
        """This moment by the database's clock, in whole milliseconds. Raises StoreUnavailable before the first look."""
        now = self._clock.now()
        if now is None:
            raise StoreUnavailable("the database's clock is not known yet")
        return now

    async def read_clock(self) -> None:
        """Compare clocks by the quickest of a few round trips: others looked for a primary, or opened a connection."""
        best: tuple[float, datetime, float, float] | None = None
        for _ in range(_CLOCK_TRIES):
            with _explained(self.client), self.bounded("reading the clock"):
                before = time.monotonic()
                hello = await self.client.admin.command("hello")
                after = time.monotonic()
            if hello.get("isreplicaset"):
                raise StoreUnavailable(_NEVER_INITIATED)
            if "setName" not in hello:
                raise SettingsError(
                    "MongoDB runs standalone, without majority writes an accepted job could be lost: start mongod with "
                    "--replSet rs0 and run rs.initiate() once (one node is enough for development)"
                )
            told = after - before, hello["localTime"].replace(tzinfo=UTC), before, after
            best = min(best, told) if best else told
            if best[0] <= _QUICK_SECONDS:
                break
        if best and self._clock.compare(*best[1:]):
            CLOCK_OFFSET.set((self.now() - datetime.now(UTC)).total_seconds())

    async def watch_clock(self, health: Health | None = None) -> None:
        """Compare clocks for ever and tell `health`; often, and with a log line, until the first time."""
        next_line, interval = 0.0, _CLOCK_INTERVAL
        while True:
            known, problem = self._clock.now() is not None, ""
            await asyncio.sleep(interval if known else _RETRY_INTERVAL)
            try:
                await self.read_clock()
            except (StoreUnavailable, SettingsError) as error:
                problem = str(error)
            interval = _AWAY_INTERVAL if problem else _CLOCK_INTERVAL
            if health:
                health.report("mongodb", problem or None)
            if not known and not problem:
                log.info("MongoDB is there")
            elif not known and time.monotonic() >= next_line:
                log.warning("waiting for MongoDB: %s", problem)
                next_line = time.monotonic() + _WAIT_LOG_INTERVAL


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
    except (ConfigurationError, InvalidURI, ValueError, TypeError, OSError) as error:
        said = type(error).__name__
        raise SettingsError(f"mongodb_uri is not usable: {said}; expected mongodb://host:port/...") from None


@contextlib.asynccontextmanager
async def connect(
    settings: Settings, *, role: Role, wait: float = 0.0, open_without: bool = False, health: Health | None = None
) -> AsyncIterator[Database]:
    """Connect in the running loop, keep the clock compared and tell `health` whether the database answers.

    Waits up to `wait` seconds for a primary. With `open_without` there may be none: until there is one every call
    raises StoreUnavailable. Raises SettingsError for a standalone mongod.
    """
    timeout = max(0.0 if role in ("edge", "operator") else 10.0, settings.mongodb_timeout_seconds)
    bound_look_ups()
    async with _client(settings, role) as client:
        database = Database(client, settings.mongodb_database, timeout)
        try:
            await _first_look(database, wait)
        except StoreUnavailable as error:
            if not open_without:
                raise
            log.warning("waiting for MongoDB, not ready meanwhile: %s", error)
        clock = supervised_task("clock", partial(database.watch_clock, health))
        try:
            yield database
        finally:
            clock.cancel()


async def _first_look(database: Database, wait: float) -> None:
    give_up, next_line = time.monotonic() + wait, 0.0
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
