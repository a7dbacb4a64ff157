"""A worker whose moves of stored jobs lack one fence each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from shared.domain.job import Record
from shared.mongo.documents import transitions
from shared.mongo.documents.codec import binary
from tests.sabotage.placing import put


def without_fencing_of_renewals() -> None:
    """Whatever a worker believes to hold stays held, by whomever, and an ended job gets a due time again."""
    _match_by_id_alone("renew", lambda ids, *_: [binary(each) for each in ids])


def without_fencing_of_outcomes() -> None:
    """The last outcome that is written wins, over another worker's claim and over an end. Releases stay fenced."""
    _match_records_by_id_alone("finish")


def without_fencing_of_releases() -> None:
    """A worker that lost a job gives it back, so that it is due again, held by another or ended. Ends stay fenced."""
    _match_records_by_id_alone("release")


def _match_records_by_id_alone(name: str) -> None:
    _match_by_id_alone(name, lambda records, *_: _ids(records))
    transition, position = vars(transitions)[name], transitions._position

    def unfenced(*arguments: Any) -> Any:
        transitions._position = lambda records: {"$indexOfArray": [{"$literal": _ids(records)}, "$_id"]}
        try:
            return transition(*arguments)
        finally:
            transitions._position = position

    put(transitions, name, unfenced)


def _match_by_id_alone(name: str, ids_of: Callable[..., Any]) -> None:
    transition = vars(transitions)[name]

    def unfenced(*arguments: Any) -> Any:
        return replace(transition(*arguments), filter={"_id": {"$in": ids_of(*arguments)}})

    put(transitions, name, unfenced)


def _ids(records: Sequence[Record]) -> list[Any]:
    return [binary(record.job_id) for record in records]
