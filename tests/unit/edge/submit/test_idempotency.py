"""Fingerprints: equal for the same request however it is spelt, different for any other."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from edge.submit.idempotency import body_digest, fingerprint
from edge.submit.validation import parser
from shared.domain.catalogue import BY_TYPE
from shared.domain.form import Part, encode_form, parse_form
from shared.providers.config import ProviderConfig

PROVIDERS = {"openai": ProviderConfig(name="openai")}

numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(st.text(max_size=8), values, max_size=5)


def of(parsed: dict[str, object], **changes: object) -> bytes:
    body = body_digest(parsed)
    arguments = {"request_type": "embedding", "body": body, "forward": (), "extra_params": False} | changes
    return fingerprint(**arguments)  # type: ignore[arg-type]


def shuffled(value: object) -> object:
    """The same value with all objects' keys the other way round."""
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(list(value))}
    return [shuffled(each) for each in value] if isinstance(value, list) else value


@given(objects)
def test_the_order_of_keys_does_not_matter(parsed: dict[str, object]) -> None:
    other = shuffled(parsed)
    assert isinstance(other, dict)
    assert of(parsed) == of(other)


@given(objects, objects)
def test_other_values_give_another_fingerprint(one: dict[str, object], two: dict[str, object]) -> None:
    # Compared as JSON: there 1 and 1.0 and True are three things.
    same = json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)
    assert (of(one) == of(two)) == same


def test_spaces_and_escapes_do_not_matter() -> None:
    parse = parser(BY_TYPE["embedding"], PROVIDERS, "", 1000)
    plain = parse(b'{"model":"openai/m","input":"\xc3\xa9"}', "", True)
    spaced = parse(b' { "input" : "\\u00e9",\n"model":"openai\\/m" } ', "text/plain", True)
    assert plain.digest == spaced.digest is not None


def test_request_type_and_pass_through_headers_are_part_of_it() -> None:
    body: dict[str, object] = {"input": "x"}
    others = [
        of(body, request_type="rerank"),
        of(body, extra_params=True),
        of(body, forward=(("a", "1"),)),
        of(body, forward=(("a", "2"),)),
        of(body, forward=(("a", "1"), ("a", "2"))),
        of(body, forward=(("a", "2"), ("a", "1"))),
    ]
    assert len({of(body), *others}) == 7


def test_the_order_of_different_headers_does_not_matter() -> None:
    assert of({}, forward=(("a", "1"), ("b", "2"))) == of({}, forward=(("b", "2"), ("a", "1")))


def form(*parts: Part) -> bytes:
    content_type, body = encode_form(parts)
    return body_digest(parse_form(body, content_type))


def test_a_form_counts_by_its_parts_and_not_by_its_boundary() -> None:
    model, file = Part("model", None, None, b"openai/m"), Part("file", "a.wav", "audio/wav", b"RIFF")
    assert form(model, file) == form(model, file)
    others = [
        form(file, model),
        form(model, Part("file", "b.wav", "audio/wav", b"RIFF")),
        form(model, Part("file", "a.wav", "audio/mpeg", b"RIFF")),
        form(model, Part("file", "a.wav", "audio/wav", b"RIFX")),
        form(model, Part("file", None, "audio/wav", b"RIFF")),
        form(model, file, file),
    ]
    assert len({form(model, file), *others}) == 7
