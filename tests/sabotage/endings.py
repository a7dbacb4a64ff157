"""A worker or reaper without a check that concerns how jobs end, and for how long their ends are kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pymongo.errors import OperationFailure

from tests.sabotage.placing import once_metrics_are_placed, put

_INDEX_NOT_FOUND = 27
_NAMESPACE_NOT_FOUND = 26


def without_ttl() -> None:
    """A reaper that drops the indexes by which the database deletes what is expired."""

    def patch() -> None:
        from workers.reaper.service import Reaper  # noqa: PLC0415

        run_once = Reaper.run_once

        async def undeleted(self: Reaper) -> dict[str, int]:
            database: Any = vars(self._store)["_db"]
            for collection in (database.jobs, database.payloads):
                await _drop(collection, "expires_at_ttl")
            return await run_once(self)

        put(Reaper, "run_once", undeleted)

    once_metrics_are_placed(patch)


async def _drop(collection: Any, index: str) -> None:
    try:
        await collection.drop_index(index)
    except OperationFailure as error:
        if error.code not in (_INDEX_NOT_FOUND, _NAMESPACE_NOT_FOUND):
            raise


def without_end_of_answers() -> None:
    """A provider's answer that is cut off by the end of its connection is taken for whole, whatever length it said."""

    def patch() -> None:
        from workers.providers.transport.connection import Connection  # noqa: PLC0415

        put(Connection, "_ends_with_the_stream", lambda _self: True)

    once_metrics_are_placed(patch)


def without_failure_budget() -> None:
    """A job whose provider goes on failing is tried again up to its deadline."""

    def patch() -> None:
        from workers.execution import attempt, retry  # noqa: PLC0415
        from workers.execution.retry import RetryPolicy  # noqa: PLC0415
        from workers.provider_interface import ProviderError  # noqa: PLC0415

        def retry_in(error: ProviderError, failures: int, policy: RetryPolicy, drawn: float) -> float | None:
            return retry.retry_in(error, failures, replace(policy, max_failures=failures + 1), drawn)

        put(attempt, "retry_in", retry_in)

    once_metrics_are_placed(patch)
