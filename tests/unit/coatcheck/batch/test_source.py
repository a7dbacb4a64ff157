"""The input file: everything wrong with it is found before anything is submitted."""

import json
from pathlib import Path

import pytest

from coatcheck.batch import source as module
from coatcheck.batch.lines import BadInput, Options
from coatcheck.batch.source import check_source


def request(custom_id: str) -> str:
    return json.dumps({"custom_id": custom_id, "url": "/v1/embeddings", "body": {"model": "m"}})


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "in.jsonl"


def test_every_line_is_a_request_and_blank_lines_are_none(path: Path) -> None:
    source = check_source(write(path, request("a"), "", request("b"), " "), Options())
    assert source.total == 2
    assert [line.custom_id for line in source.lines()] == ["a", "b"]


def test_a_byte_order_mark_windows_line_ends_and_a_missing_last_one_are_fine(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf" + f"{request('a')}\r\n{request('b')}".encode())
    assert [line.custom_id for line in check_source(path, Options()).lines()] == ["a", "b"]


def test_the_first_wrong_lines_are_named_together(path: Path) -> None:
    write(path, "{", request("a"), *["[]"] * 10)
    with pytest.raises(BadInput, match=r"line 1: not JSON.*line 3: .*line 6: .*Nothing was submitted") as raised:
        check_source(path, Options())
    assert "line 7" not in str(raised.value)


def test_a_repeated_custom_id_is_named_with_both_lines(path: Path) -> None:
    with pytest.raises(BadInput, match="custom_id 'b' is on lines 2 and 5"):
        check_source(write(path, request("a"), request("b"), request("c"), "", request("b")), Options())


def test_custom_ids_that_only_fold_alike_are_not_called_repeated(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "fold", lambda custom_id: 7)
    assert check_source(write(path, request("a"), request("b")), Options()).total == 2


def test_an_empty_file_and_a_missing_one_are_refused(path: Path) -> None:
    with pytest.raises(BadInput, match="cannot read"):
        check_source(path, Options())
    with pytest.raises(BadInput, match="no requests"):
        check_source(write(path, ""), Options())


def test_a_line_longer_than_any_request_is_refused_without_reading_it_all(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST_LINE", 1000)
    write(path, request("a"), "x" * 5000)
    with pytest.raises(BadInput, match="line 2 is longer"):
        check_source(path, Options())


def test_a_file_that_changes_between_check_and_use_is_noticed(path: Path) -> None:
    source = check_source(write(path, request("a"), request("b")), Options())
    write(path, request("a"), request("c"))
    with pytest.raises(BadInput, match="was changed"):
        list(source.lines())


def test_the_fingerprint_is_the_content(path: Path) -> None:
    first = check_source(write(path, request("a")), Options()).fingerprint
    assert check_source(write(path, request("a")), Options()).fingerprint == first
    assert check_source(write(path, request("b")), Options()).fingerprint != first
