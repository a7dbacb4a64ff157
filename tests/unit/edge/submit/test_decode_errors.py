"""Decoder errors in words: field, expected, got."""

from __future__ import annotations

import msgspec
import pytest

from edge.submit.decode_errors import syntax_problem, type_problem
from shared.domain.schemas import ChatCompletion, Embedding, JsonBody, Rerank, TextCompletion


@pytest.mark.parametrize(
    ("schema", "body", "words"),
    [
        (Embedding, b'{"model":1}', "field 'model': expected a string or null, got an integer"),
        (Embedding, b"[]", "the body: expected an object, got a list"),
        (Embedding, b'"x"', "the body: expected an object, got a string"),
        (Embedding, b'{"stream":"yes"}', "field 'stream': expected a boolean or null, got a string"),
        (TextCompletion, b'{"top_p":"1"}', "field 'top_p': expected a number or null, got a string"),
        (TextCompletion, b'{"n":1.5}', "field 'n': expected an integer or null, got a number"),
        (TextCompletion, b'{"prompt":[1]}', "field 'prompt[0]': expected a string, got an integer"),
        (ChatCompletion, b'{"messages":[{"content":"x"}]}', "field 'messages[0].role' is missing"),
        (ChatCompletion, b'{"messages":[{"role":"user","content":{}}]}',
         "field 'messages[0].content': expected a string, a list or null, got an object"),
        (Rerank, b'{"documents":[1]}', "field 'documents[0]': expected a string or an object, got an integer"),
        (TextCompletion, b'{"temperature":1e999}', "field 'temperature': number out of range"),
        (TextCompletion, b'{"seed":' + b"9" * 5000 + b"}", "field 'seed': integer value out of range"),
    ],
)  # fmt: skip
def test_a_type_error_names_field_expectation_and_what_came(schema: type[JsonBody], body: bytes, words: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(body, type=schema)
    assert type_problem(str(caught.value)) == words


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "the body is empty"),
        (b'{"a":1', "ends too early, after 6 bytes"),
        (b'{"a":1}x', "trailing characters (byte 8)"),
        (b"{invalid json", "(byte 1)"),
        (b'{"a":NaN}', "invalid character (byte 5)"),
    ],
)
def test_a_syntax_error_says_where(body: bytes, words: str) -> None:
    with pytest.raises(msgspec.DecodeError) as caught:
        msgspec.json.decode(body)
    assert words in syntax_problem(str(caught.value), len(body))
