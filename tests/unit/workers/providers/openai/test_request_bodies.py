"""What of a client's body reaches the provider."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.catalogue import CATALOGUE
from shared.domain.content import Content
from shared.domain.form import Part, encode_form, parse_form
from tests.support.servers.upstream import FORM_PARTS, call_of, content_of
from workers.provider_interface import Call, ProviderError
from workers.providers.openai import request_bodies


def sent(request_type: str, body: bytes, provider: str = "up", **fields: Any) -> bytes:
    call = call_of(request_type, "m", content=Content("json", body), **fields)
    content_type, data = request_bodies.build(call, provider)
    assert content_type == "application/json"
    return data


def sent_fields(request_type: str, body: bytes, provider: str = "up", **fields: Any) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode(sent(request_type, body, provider, **fields))
    return decoded


def sent_parts(call: Call) -> list[Part]:
    content_type, data = request_bodies.build(call, "up")
    return parse_form(data, content_type).parts


def test_the_model_is_replaced_and_our_own_fields_stay_here() -> None:
    body = b'{"model":"p/x","fallbacks":["a/b"],"stream":false,"stream_options":{},"messages":[{"role":"user"}]}'
    assert sent("chat_completion", body) == b'{"model":"m","messages":[{"role":"user"}]}'


def test_values_are_the_bytes_that_the_client_sent() -> None:
    value = b'[ 123456789012345678901234567890, 1.10, 1e2, "\\u00e9", {"k\\n":null , "":0} ]'
    body = b'{"model":"p/x","input":' + value + b"}"
    assert value in sent("embedding", body)


def test_unknown_fields_pass_only_when_the_client_says_so() -> None:
    body = b'{"model":"p/x","input":"a","odd \xc3\xa9":{"x":1}}'
    assert "odd é" not in sent_fields("embedding", body)
    assert sent_fields("embedding", body, extra_params=True)["odd é"] == {"x": 1}


def test_parameters_of_a_fallback_override_the_body() -> None:
    params = b'{"temperature":0.1,"top_k":40,"model":"other","stream":true,"fallbacks":["a/b"]}'
    body = b'{"model":"p/x","temperature":0.9,"messages":[{"role":"user"}]}'
    assert sent_fields("chat_completion", body, params=params) == {
        "model": "m",
        "temperature": 0.1,
        "messages": [{"role": "user"}],
        "top_k": 40,
    }


def test_a_background_response_is_asked_for_at_once_but_a_background_of_an_image_stays() -> None:
    assert "background" not in sent_fields("responses", b'{"input":"a","background":true}')
    assert sent_fields("image_generation", b'{"prompt":"a","background":"opaque"}')["background"] == "opaque"


@pytest.mark.parametrize(
    ("provider", "given", "expected"),
    [
        ("openai", {"max_tokens": 5}, {"max_completion_tokens": 5}),
        ("up", {"max_tokens": 5}, {"max_tokens": 5}),
        ("up", {"max_tokens": 5, "max_completion_tokens": 6}, {"max_completion_tokens": 6}),
        ("openai", {"reasoning": {"effort": "low"}}, {"reasoning_effort": "low"}),
        ("up", {"reasoning": {"effort": "low"}, "reasoning_effort": "high"}, {"reasoning_effort": "high"}),
        ("up", {"reasoning": None}, {}),
        ("openrouter", {"reasoning": {"max_tokens": 9}}, {"reasoning": {"max_tokens": 9}}),
    ],
)
def test_chat_options_are_named_as_the_provider_knows_them(
    provider: str, given: dict[str, Any], expected: dict[str, Any]
) -> None:
    fields = sent_fields("chat_completion", msgspec.json.encode(given), provider)
    assert fields == {"model": "m", **expected}


def test_documents_to_rerank_travel_as_texts() -> None:
    body = b'{"query":"q","documents":["a",{"text":"b","id":"1","meta":{}}],"top_n":1,"return_documents":true}'
    assert sent_fields("rerank", body) == {"query": "q", "documents": ["a", "b"], "top_n": 1, "model": "m"}


@pytest.mark.parametrize(
    ("request_type", "body", "params"),
    [
        ("embedding", b"[1]", b""),
        ("embedding", b"{", b""),
        ("embedding", b'{"input":"\xff"}', b""),
        ("embedding", b'{"input":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b""),
        ("embedding", b"{}", b"[]"),
        ("rerank", b'{"documents":[{"id":"no text"}]}', b""),
        ("rerank", b'{"documents":7}', b""),
        ("chat_completion", b"{}", b'{"reasoning":7}'),
    ],
)
def test_a_stored_body_that_cannot_be_sent_is_a_bad_request(request_type: str, body: bytes, params: bytes) -> None:
    with pytest.raises(ProviderError) as caught:
        sent(request_type, body, params=params)
    assert (caught.value.status_code, caught.value.retryable) == (400, False)


@pytest.mark.parametrize("request_type", sorted(FORM_PARTS))
def test_a_form_keeps_files_names_order_and_repeated_parts(request_type: str) -> None:
    parts = sent_parts(call_of(request_type, "gpt-image"))
    assert parts == [Part("model", None, None, b"gpt-image"), *FORM_PARTS[request_type]]


@pytest.mark.parametrize("extra_params", [False, True])
def test_a_form_loses_what_is_ours_and_keeps_all_else_known_or_not(extra_params: bool) -> None:
    file = Part("file", "a.wav", "audio/wav", b"\r\n--x\r\n\x00")
    language, odd = Part("language", None, None, b"en"), Part("odd", None, None, b"1")
    unknown_file = Part("stream", "stream", None, b"a file")
    foreign = [Part("empty", None, None, b""), odd, Part("odd", None, None, b"2"), unknown_file]
    asked = [
        language,
        Part("model", None, None, b"p/x"),
        file,
        Part("model", None, None, b"p/again"),
        Part("fallbacks", None, None, b"a/b"),
        Part("stream", None, None, b"false"),
        *foreign,
    ]
    content_type, data = encode_form(asked)
    call = call_of("transcription", "w", content=Content("multipart", data, content_type), extra_params=extra_params)
    model = Part("model", None, None, b"w")
    assert sent_parts(call) == [language, model, file, *foreign]


PNG, WEBP = b"\x89PNG\r\n\x1a\n\x00", b"RIFF\x00\x00\x00\x00WEBPVP8 "


def image(name: str, data: bytes = PNG, content_type: str | None = "image/png") -> Part:
    return Part(name, "a", content_type, data)


def sent_files(request_type: str, *files: Part) -> list[Part]:
    content_type, data = encode_form([Part("prompt", None, None, b"a"), *files])
    parts = sent_parts(call_of(request_type, "m", content=Content("multipart", data, content_type)))
    return [part for part in parts if part.filename is not None]


@pytest.mark.parametrize(
    ("request_type", "given", "arrive"),
    [
        ("image_edit", ["image"], ["image"]),
        ("image_edit", ["image[]"], ["image[]"]),
        ("image_edit", ["image", "image"], ["image[]", "image[]"]),
        ("image_edit", ["image[]", "image[]", "mask"], ["image[]", "image[]", "mask"]),
        ("image_edit", ["image", "image[]", "mask"], ["image[]", "image[]", "mask"]),
        ("image_edit", ["image[]", "image"], ["image[]", "image[]"]),
        ("image_variation", ["image"], ["image"]),
        ("image_variation", ["image[]"], ["image"]),
        ("image_variation", ["image[]", "image[]", "image"], ["image"]),
    ],
)
def test_images_travel_under_the_names_that_the_provider_takes(
    request_type: str, given: list[str], arrive: list[str]
) -> None:
    assert [part.name for part in sent_files(request_type, *map(image, given))] == arrive


def test_all_images_of_an_edit_arrive_in_their_order_whatever_their_names() -> None:
    given = [image(name, PNG + name.encode() + bytes([i])) for i, name in enumerate(["image", "image[]", "mask"] * 2)]
    assert [part.data for part in sent_files("image_edit", *given)] == [part.data for part in given]


@pytest.mark.parametrize("request_type", ["image_edit", "image_variation"])
@pytest.mark.parametrize("said", [None, "application/octet-stream", "Application/Octet-Stream"])
@pytest.mark.parametrize(
    ("data", "found"),
    [(PNG, "image/png"), (b"\xff\xd8\xff\xe0", "image/jpeg"), (WEBP, "image/webp"), (b"GIF89a\x00", "image/gif")],
)
def test_an_image_without_a_type_gets_the_one_that_its_bytes_tell(
    request_type: str, said: str | None, data: bytes, found: str
) -> None:
    (part,) = sent_files(request_type, image("image", data, said))
    assert (part.content_type, part.data) == (found, data)


def test_a_type_that_the_client_gave_and_bytes_that_nobody_knows_stay_as_they_are() -> None:
    assert sent_files("image_edit", image("image", PNG, "image/x-own")) == [image("image", PNG, "image/x-own")]
    unknown = image("image", b"???", "application/octet-stream")
    assert sent_files("image_edit", unknown) == [unknown]


def test_parameters_of_a_fallback_override_parts() -> None:
    params = b'{"language":"de","temperature":0.5,"model":"other","stream":"true"}'
    parts = sent_parts(call_of("transcription", "w", params=params))
    assert {part.name: part.data for part in parts if part.filename is None} == {
        "model": b"w",
        "language": b"de",
        "temperature": b"0.5",
    }


def test_a_broken_form_is_a_bad_request() -> None:
    content = content_of("transcription")
    cut = Content("multipart", content.data[:-20], content.content_type)
    with pytest.raises(ProviderError, match="is no form"):
        request_bodies.build(call_of("transcription", content=cut), "up")


@given(
    st.sampled_from([endpoint.request_type for endpoint in CATALOGUE if endpoint.json]),
    st.dictionaries(st.text(max_size=10), st.integers() | st.text() | st.lists(st.booleans()), max_size=6),
)
def test_with_extra_params_every_foreign_field_arrives_unchanged(request_type: str, given: dict[str, Any]) -> None:
    known = next(endpoint.known_fields for endpoint in CATALOGUE if endpoint.request_type == request_type)
    foreign = {name: value for name, value in given.items() if name not in known}
    arrived = sent_fields(request_type, msgspec.json.encode(foreign), extra_params=True)
    assert {name: value for name, value in arrived.items() if name != "model"} == {
        name: value for name, value in foreign.items() if name != "stream_options"
    }
