"""The files of a database outlive the version that made them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pymongo
import pytest
from pymongo import MongoClient, WriteConcern

from coatcheck.dev import mongod as dev
from coatcheck.dev.mongod import Mongod, journal_options, mongod_command
from tests.support.servers import mongod

NEW = ("--wiredTigerCollectionBlockCompressor", "none")
"""Options that version 0.1.0 did not give."""


def _before(binary: Path, data: Path, port: int, *, parameters: Sequence[str] = ()) -> list[str]:
    return [word for word in mongod_command(binary, data, port, parameters=parameters) if word not in NEW]


def test_files_of_the_version_before_open_after_a_kill_9(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mongod, "mongod_command", _before)
    with mongod.MongodSet(tmp_path) as database:
        with MongoClient[dict[str, object]](database.uri) as client:
            written = client["kept"].get_collection("jobs", write_concern=WriteConcern("majority", j=True))
            written.insert_many([{"_id": number, "body": "x" * 10_000} for number in range(500)])
        database.kill()
        monkeypatch.setattr(mongod, "mongod_command", mongod_command)
        database.restart()
        with MongoClient[dict[str, object]](database.uri) as client:
            kept = client["kept"]["jobs"].find(sort=[("_id", pymongo.ASCENDING)])
            assert [document["_id"] for document in kept] == list(range(500))


def _some_more(files: Path, already: int) -> None:
    """Start a database of the development stack, write and kill -9 it."""
    database = Mongod(files, files / "mongod.log")
    child = database.start()
    try:
        database.wait_ready(child)
        with MongoClient[dict[str, object]](database.uri) as client:
            jobs = client["kept"].get_collection("jobs", write_concern=WriteConcern("majority", j=True))
            assert jobs.count_documents({}) == already
            jobs.insert_many([{"_id": already + number, "body": "x" * 10_000} for number in range(100)])
    finally:
        child.kill()


def test_a_journal_that_was_begun_uncompressed_stays_so_and_is_read_after_a_kill_9(tmp_path: Path) -> None:
    for already in (0, 100):
        _some_more(tmp_path, already)
        assert journal_options(tmp_path) == ["--wiredTigerJournalCompressor", "none"]


def test_a_journal_that_was_begun_compressed_stays_so_and_is_read_after_a_kill_9(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dev, "journal_options", lambda data: [])  # as in version 0.1.0
    _some_more(tmp_path, 0)
    monkeypatch.undo()
    assert journal_options(tmp_path) == []
    _some_more(tmp_path, 100)
