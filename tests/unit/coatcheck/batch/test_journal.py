"""What survives: a batch cut at any byte goes on, and each line ends up in the files exactly once."""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coatcheck.batch.journal import Journal, Paths, default_errors
from coatcheck.batch.lines import BadInput, Stopped
from coatcheck.batch.outputs import LineFile

IDS = [f"line-{number}" for number in range(8)]


def written(custom_id: str, filler: str = "") -> bytes:
    return json.dumps({"custom_id": custom_id, "response": filler}).encode() + b"\n"


def ids_in(path: Path) -> list[str]:
    return [json.loads(line)["custom_id"] for line in path.read_bytes().splitlines()] if path.exists() else []


def work_through(paths: Paths, fails: set[str]) -> list[str]:
    """Do what a run does with every line that is not done; gives the lines that it did."""
    did = []
    with Journal(paths, "fingerprint") as journal:
        for custom_id in IDS:
            if not journal.has(custom_id):
                (journal.fail if custom_id in fails else journal.complete)(written(custom_id))
                did.append(custom_id)
        assert journal.done == len(IDS)
    return did


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "out.jsonl", tmp_path / "errors.jsonl")


@settings(max_examples=50, deadline=None)  # each example waits for the disk several times
@given(st.data(), st.sets(st.sampled_from(IDS)))
def test_a_batch_cut_at_any_byte_writes_each_line_exactly_once(data: st.DataObject, fails: set[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = Paths(Path(folder) / "out.jsonl", Path(folder) / "errors.jsonl")
        work_through(paths, fails)
        for _ in range(data.draw(st.integers(1, 3))):
            for path in (paths.output, paths.errors):
                if path.exists():
                    os.truncate(path, data.draw(st.integers(0, path.stat().st_size)))
            kept = {custom_id for path in (paths.output, paths.errors) for custom_id in _whole(path)}
            did = work_through(paths, fails)
            assert sorted(did) == sorted(set(IDS) - kept)
        assert sorted(ids_in(paths.output) + ids_in(paths.errors)) == sorted(IDS)
        assert set(ids_in(paths.errors)) == fails


def _whole(path: Path) -> Iterator[str]:
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return (json.loads(line)["custom_id"] for line in lines if line.endswith(b"\n"))


def test_a_torn_line_longer_than_a_read_is_cut_off(paths: Paths) -> None:
    with Journal(paths, "f") as journal:
        journal.complete(written("a"))
    with paths.output.open("ab") as file:
        file.write(b"x" * 3_000_000)
    with Journal(paths, "f") as journal:
        assert journal.done == 1
    assert ids_in(paths.output) == ["a"]


def test_all_runs_of_a_batch_share_one_run_id_and_another_output_has_its_own(paths: Paths, tmp_path: Path) -> None:
    runs = []
    for each in (paths, paths, Paths(tmp_path / "other.jsonl", tmp_path / "other-errors.jsonl")):
        with Journal(each, "f") as journal:
            runs.append(journal.run)
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("name", ["output", "errors"])
def test_a_file_that_no_batch_has_written_is_refused_and_not_touched(paths: Paths, name: str) -> None:
    mine: Path = getattr(paths, name)
    mine.write_text("my thesis, without a line break at the end")
    with pytest.raises(BadInput, match="not empty and no batch has written it"):
        Journal(paths, "f")
    assert mine.read_text() == "my thesis, without a line break at the end"


def test_another_input_under_the_same_output_is_refused(paths: Paths) -> None:
    Journal(paths, "f").__exit__(None, None, None)
    with pytest.raises(BadInput, match="belongs to another input"):
        Journal(paths, "g")


def test_two_runs_cannot_write_one_output(paths: Paths) -> None:
    with Journal(paths, "f"), pytest.raises(BadInput, match="being written by another batch"):
        Journal(paths, "f")
    with Journal(paths, "f"):
        pass


@pytest.mark.parametrize("content", ["", "[]", '{"version": 1}', '{"version": 99, "run": "r", "input_sha256": "f"}'])
def test_a_journal_that_cannot_be_understood_is_refused(paths: Paths, content: str) -> None:
    paths.journal.write_text(content)
    with pytest.raises(BadInput, match="journal"):
        Journal(paths, "f")


def test_a_line_in_the_output_that_no_batch_wrote_is_named(paths: Paths) -> None:
    with Journal(paths, "f") as journal:
        journal.complete(written("a"))
        journal.complete(b"{}\n")
    with pytest.raises(BadInput, match="line 2 is not a line of a batch"):
        Journal(paths, "f")


def test_no_empty_errors_file_is_left(paths: Paths) -> None:
    with Journal(paths, "f") as journal:
        journal.complete(written("a"))
    assert not paths.errors.exists()


def test_failures_are_tried_again_as_new_jobs_and_kept_on_record(paths: Paths) -> None:
    with Journal(paths, "f") as journal:
        journal.fail(written("a"))
        journal.complete(written("b"))
    with Journal(paths, "f") as journal:
        assert (journal.has("a"), journal.attempt("a"), journal.failed) == (True, 0, 1)
    with Journal(paths, "f", retry_failed=True) as journal:
        assert (journal.has("a"), journal.attempt("a"), journal.failed, journal.done) == (False, 1, 0, 1)
        assert journal.attempt("b") == 0
    with Journal(paths, "f") as journal:
        assert (journal.has("a"), journal.attempt("a")) == (False, 1)
        journal.fail(written("a"))
    with Journal(paths, "f", retry_failed=True) as journal:
        assert journal.attempt("a") == 2
    assert ids_in(paths.retried) == ["a", "a"]


class FullDisk:
    """`os.write` that takes `room` bytes in all."""

    def __init__(self, room: int) -> None:
        self.room = room

    def __call__(self, file: int, data: bytes) -> int:
        if not self.room:
            raise OSError(28, "No space left on device")
        taken = data[: self.room]
        self.room -= len(taken)
        return _write(file, taken)


_write = os.write


def test_a_full_disk_stops_the_batch_and_leaves_no_torn_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LineFile(tmp_path / "out") as file:
        file.append(b"one\n")
        monkeypatch.setattr(os, "write", FullDisk(2))
        with pytest.raises(Stopped, match="No space left"):
            file.append(b"two\n")
        monkeypatch.setattr(os, "write", FullDisk(10**6))
        file.append(b"three\n")
    assert (tmp_path / "out").read_bytes() == b"one\nthree\n"


def test_a_write_that_takes_several_calls_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", lambda file, data: _write(file, data[:1]))
    with LineFile(tmp_path / "out") as file:
        file.append(b"line\n")
    assert (tmp_path / "out").read_bytes() == b"line\n"


def test_two_batches_in_a_folder_have_each_its_own_errors_file(tmp_path: Path) -> None:
    one, other = (Paths(output, default_errors(output)) for output in (tmp_path / "a.jsonl", tmp_path / "b.jsonl"))
    with Journal(one, "one") as first, Journal(other, "other") as second:
        first.fail(written("line-1"))
        second.fail(written("line-2"))
    assert (ids_in(tmp_path / "a.errors.jsonl"), ids_in(tmp_path / "b.errors.jsonl")) == (["line-1"], ["line-2"])


def test_a_batch_that_an_older_version_began_goes_on_with_its_errors_file(tmp_path: Path) -> None:
    output = tmp_path / "a.jsonl"
    begun = {"version": 1, "run": "r", "input_sha256": "one"}
    output.with_name("a.jsonl.journal").write_text(json.dumps(begun))
    assert default_errors(output) == tmp_path / "errors.jsonl"
