"""Counting values without decoding: strings do not count, and no bytes make it slow."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.submit.validation import holds_more_values


@pytest.mark.parametrize(
    "body",
    [
        b'["a,b","c\\",d",1]',
        b'{"a":",,[{","b":"\\\\","c":2}',
        b"[1,2,3]",
        b'"' + b",[{" * 9,
        b'[["]]{}[]"]]',
        b'{"a":{}}',
    ],
)
def test_what_stands_in_strings_does_not_count(body: bytes) -> None:
    assert not holds_more_values(body, 3)


@pytest.mark.parametrize("body", [b"[1,2,3,4]", b'["a","b","c","d"]', b'{"a":"\\\\",",b":2,"c":3,"d":4}', b",,,,"])
def test_commas_between_values_do(body: bytes) -> None:
    assert holds_more_values(body, 3)


@pytest.mark.parametrize("body", [b"[[[[]]]]", b'{"a":{"a":{"a":{}}}}', b'[{"a":[],"[{,":1}]', b'"{,[" [{},{'])
def test_openings_of_lists_and_objects_do(body: bytes) -> None:
    assert holds_more_values(body, 3)


@given(st.binary(max_size=300).map(lambda body: body.replace(b"a", b'"').replace(b"b", b",").replace(b"c", b"\\")))
def test_any_bytes_are_counted(body: bytes) -> None:
    assert holds_more_values(body, 3) in (True, False)


_SLOW = {
    "quotes": b'"' * 16_000_000,
    "escaped quotes": b'"' + b'\\"' * 8_000_000,
    "open strings": b'"a' * 8_000_000,
    "commas": b'["' + b"," * 16_000_000,
    "backslashes": b'"\\' * 8_000_000,
    "openings": b"[{" * 8_000_000,
    "openings in a string": b'"' + b"[{" * 8_000_000,
    "openings behind strings": b'"",' * 900_000 + b'"' + b"[" * 13_000_000,
}


@pytest.mark.parametrize("body", _SLOW.values(), ids=_SLOW)
def test_no_body_takes_more_than_its_size_in_steps(body: bytes) -> None:
    before = time.process_time()
    holds_more_values(body + b"," * 1_000_001, 1_000_000)
    assert time.process_time() - before < 5
