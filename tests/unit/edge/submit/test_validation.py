"""Bodies: every valid request of the contract is understood, every other one is refused with the field in the text."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge.submit import validation
from edge.submit.validation import BodyReader, ParsedRequest, parser
from shared.domain.catalogue import BY_TYPE
from shared.domain.errors import BadRequest, Refusal, UnsupportedBody
from shared.domain.form import Part, encode_form, parse_form
from shared.domain.target import Target
from shared.providers.config import ProviderConfig, configured

PROVIDERS = {
    "openai": ProviderConfig(name="openai", models=("gpt-4o-mini",)),
    "elevenlabs": ProviderConfig(name="elevenlabs"),
    "local": ProviderConfig(name="local", kind="local"),
}
MIB = 1024 * 1024


def parse_json(request_type: str, body: bytes, content_type: str = "application/json") -> ParsedRequest:
    return parser(BY_TYPE[request_type], PROVIDERS, "", MIB)(body, content_type, False)


def parse_parts(request_type: str, parts: Iterable[Part], max_bytes: int = MIB) -> ParsedRequest:
    content_type, body = encode_form(parts)
    return parser(BY_TYPE[request_type], PROVIDERS, "", max_bytes)(body, content_type, False)


def text(name: str, value: str) -> Part:
    return Part(name, None, None, value.encode())


def upload(name: str, data: bytes = b"\x89PNG", filename: str = "in.png") -> Part:
    return Part(name, filename, "image/png", data)


M = b'"model":"openai/m"'
SUBMITS: dict[str, list[bytes]] = {
    "text_completion": [
        b'{%s,"prompt":"x"}', b'{%s,"prompt":["x","y"]}', b'{%s,"prompt":""}', b'{%s,"prompt":"x","logprobs":3}',
        b'{%s,"prompt":"x","stream":false}', b'{%s,"prompt":"x","stream":null}', b'{%s,"prompt":"x","odd":{"a":[1]}}',
    ],
    "chat_completion": [
        b'{%s,"messages":[{"role":"user","content":"hi"}]}',
        b'{%s,"messages":[{"role":"user","content":[{"type":"text","text":"a"}]}],"temperature":1,"top_p":0.5}',
        b'{%s,"messages":[{"role":"assistant","tool_calls":[{"id":"1"}]}],"tool_choice":"auto","stop":["a"]}',
        b'{%s,"messages":[{"role":"user","content":null}],"tool_choice":{"type":"function"},"n":2}',
    ],
    "responses": [b'{%s,"input":"hi"}', b'{%s,"input":""}', b'{%s,"input":[{"type":"message"}],"background":true}'],
    "embedding": [
        b'{%s,"input":"x"}', b'{%s,"input":["x","y"]}', b'{%s,"input":[1,2]}', b'{%s,"input":[[1],[2]]}',
        b'{%s,"input":[{"type":"text","text":"x"}]}', b'{%s,"input":"x","stream":true}',
    ],
    "speech": [
        b'{%s,"input":"x","voice":"alloy"}', b'{%s,"input":"x","voice":[{"speaker":"a","voice":"b"}]}',
        b'{%s,"input":"x","voice":"a","stream_format":"audio"}', b'{%s,"input":"x","voice":"a","stream":true}',
        b'{"model":"elevenlabs/fx","input":"x"}',
    ],
    "image_generation": [b'{%s,"prompt":"x"}', b'{%s,"prompt":"x","n":2,"size":"anything"}'],
    "rerank": [
        b'{%s,"query":"q","documents":["a",{"text":"b","id":"1","meta":{"k":1}}],"top_n":1}',
        b'{%s,"query":"q","documents":["a"],"stream":true}',
    ],
    "ocr": [
        b'{%s,"document":{"type":"image_url","image_url":"http://x"}}',
        b'{%s,"document":{"type":"document_url","document_url":"data:x"},"pages":[1]}',
        b'{%s,"document":{"type":"something_new"}}',
    ],
}  # fmt: skip


@pytest.mark.parametrize(("request_type", "body"), [(kind, body) for kind, many in SUBMITS.items() for body in many])
def test_a_valid_json_request_is_taken_as_it_came(request_type: str, body: bytes) -> None:
    body = body.replace(b"%s", M)
    request = parse_json(request_type, body)
    assert request.content.data == body
    assert request.content.kind == "json"


REFUSED: list[tuple[str, bytes, str]] = [
    ("text_completion", b"{%s}", "prompt"),
    ("text_completion", b'{%s,"prompt":null}', "prompt"),
    ("text_completion", b'{%s,"prompt":[]}', "prompt"),
    ("text_completion", b'{%s,"prompt":{}}', "prompt"),
    ("text_completion", b'{%s,"prompt":"x","logprobs":true}', "logprobs"),
    ("text_completion", b'{%s,"prompt":"x","stream":true}', "stream"),
    ("text_completion", b'{%s,"prompt":"x","stream":"true"}', "stream"),
    ("chat_completion", b"{%s}", "messages"),
    ("chat_completion", b'{%s,"messages":[]}', "messages"),
    ("chat_completion", b'{%s,"messages":[{"content":"x"}]}', "messages[0].role"),
    ("chat_completion", b'{%s,"messages":[{"role":"user"}],"stream":true}', "stream"),
    ("chat_completion", b'{%s,"messages":[{"role":"user"}],"temperature":"hot"}', "temperature"),
    ("responses", b"{%s}", "input"),
    ("responses", b'{%s,"input":[]}', "input"),
    ("responses", b'{%s,"input":7}', "input"),
    ("responses", b'{%s,"input":"x","stream":true}', "stream"),
    ("embedding", b"{%s}", "input"),
    ("embedding", b'{%s,"input":null}', "input"),
    ("embedding", b'{%s,"input":[]}', "input"),
    ("embedding", b'{%s,"input":"x","dimensions":"3"}', "dimensions"),
    ("embedding", b'{%s,"input":"x","stream":"x"}', "stream"),
    ("speech", b'{%s,"voice":"alloy"}', "input"),
    ("speech", b'{%s,"input":"","voice":"alloy"}', "input"),
    ("speech", b'{%s,"input":"x"}', "voice"),
    ("speech", b'{%s,"input":"x","voice":{}}', "voice"),
    ("speech", b'{%s,"input":"x","voice":1}', "voice"),
    ("speech", b'{%s,"input":"x","voice":[{"voice":""}]}', "voice[0]"),
    ("speech", b'{%s,"input":"x","voice":"a","stream_format":"sse"}', "stream_format"),
    ("image_generation", b"{%s}", "prompt"),
    ("image_generation", b'{%s,"prompt":""}', "prompt"),
    ("image_generation", b'{%s,"prompt":"x","stream":true}', "stream"),
    ("rerank", b'{%s,"documents":["a"]}', "query"),
    ("rerank", b'{%s,"query":"  ","documents":["a"]}', "query"),
    ("rerank", b'{%s,"query":"q"}', "documents"),
    ("rerank", b'{%s,"query":"q","documents":[]}', "documents"),
    ("rerank", b'{%s,"query":"q","documents":["a"," "]}', "documents[1]"),
    ("rerank", b'{%s,"query":"q","documents":[{"id":"1"}]}', "documents[0].text"),
    ("rerank", b'{%s,"query":"q","documents":["a"],"top_n":0}', "top_n"),
    ("ocr", b"{%s}", "document"),
    ("ocr", b'{%s,"document":{}}', "document.type"),
    ("ocr", b'{%s,"document":{"type":"document_url"}}', "document.document_url"),
    ("ocr", b'{%s,"document":{"type":"image_url","image_url":""}}', "document.image_url"),
    ("ocr", b'{%s,"document":{"type":"image_url","image_url":{"url":"x"}}}', "document.image_url"),
]


@pytest.mark.parametrize(("request_type", "body", "field"), REFUSED)
def test_an_invalid_json_request_is_refused_with_its_field(request_type: str, body: bytes, field: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_json(request_type, body.replace(b"%s", M))
    assert f"'{field}" in caught.value.message


@pytest.mark.parametrize("model", [b"null", b'""', b"1", b'["openai/m"]', b'"a\\u0000b"', b'"' + b"m" * 300 + b'"'])
def test_a_model_that_is_no_name_is_refused(model: bytes) -> None:
    with pytest.raises(BadRequest, match="'model'"):
        parse_json("embedding", b'{"input":"x","model":' + model + b"}")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("opnai/x", "unknown provider 'opnai'"),
        ("no-prefix", "has no provider"),
        ("openai/", "names no model"),
        ("groq/x", "not configured"),
    ],
)
def test_a_model_of_no_configured_provider_is_refused_with_the_fix(model: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        parse_json("embedding", f'{{"input":"x","model":"{model}"}}'.encode())


def test_a_model_that_one_provider_lists_needs_no_prefix() -> None:
    assert parse_json("embedding", b'{"input":"x","model":"gpt-4o-mini"}').targets == (Target("openai", "gpt-4o-mini"),)


def test_fallbacks_are_read_in_order_and_useless_ones_dropped() -> None:
    body = (
        b'{"input":"x","model":"openai/a","fallbacks":["openai/b","nobody/c","",{"provider":"openai","model":"d",'
        b'"params":{"n":1}},{"provider":"openai"},{"model":"x"},"openai/b"]}'
    )
    names = [target.model for target in parse_json("embedding", body).targets]
    assert names == ["a", "b", "d", "b"]


def test_a_bare_string_is_no_list_of_fallbacks() -> None:
    with pytest.raises(BadRequest, match="'fallbacks'"):
        parse_json("embedding", b'{"input":"x","model":"openai/a","fallbacks":"openai/b"}')


def test_the_last_of_duplicate_keys_counts() -> None:
    request = parse_json("embedding", b'{"input":"x","model":"openai/a","model":"openai/b"}')
    assert request.targets == (Target("openai", "b"),)


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "\xff;;", "a/b; c=d"])
def test_any_content_type_but_multipart_is_json(content_type: str) -> None:
    assert parse_json("embedding", b'{"input":"x","model":"openai/a"}', content_type)


@pytest.mark.parametrize("content_type", ["multipart/form-data; boundary=x", "Multipart/Mixed", "multipart/"])
def test_multipart_on_a_json_route_is_refused_by_its_type(content_type: str) -> None:
    with pytest.raises(UnsupportedBody):
        parse_json("embedding", b"--x--", content_type)


HOSTILE = [
    b"", b" ", b"{", b"[]", b"null", b"1", b'"x"', b"\xef\xbb\xbf{}", b'{"a":"\x01"}', b"\xff", b'{"input":"\xff"}',
    b'{"zz":"\xff"}', b'{"zz":"\\ud800"}', b'{"zz":1e999}', b'{"zz":NaN}', b'{"zz":' + b"9" * 5000 + b"}",
    b"[" * 100_000, b'{"a":' * 100_000, b'{"zz":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b"\x00",
]  # fmt: skip


@pytest.mark.parametrize("body", HOSTILE, ids=lambda body: repr(body[:20]))
@pytest.mark.parametrize("request_type", [kind for kind, each in BY_TYPE.items() if each.json])
def test_a_body_that_is_no_json_object_is_a_400(request_type: str, body: bytes) -> None:
    for complete in (body, body.replace(b'{"zz"', b'{"model":"openai/m","input":"x","zz"')):
        with pytest.raises(BadRequest):
            parse_json(request_type, complete)


@given(st.binary(max_size=200), st.sampled_from(sorted(BY_TYPE)), st.text(max_size=40))
@example(b"--x\r\n", "transcription", "multipart/form-data; boundary=x")
def test_no_bytes_raise_anything_but_a_refusal(body: bytes, request_type: str, content_type: str) -> None:
    with pytest.raises(Refusal):
        parse_json(request_type, body, content_type)


AUDIO = upload("file", b"RIFF", "note.wav")
FORMS: list[tuple[str, list[Part]]] = [
    ("transcription", [text("model", "openai/w"), AUDIO]),
    ("transcription", [text("model", "openai/w"), AUDIO, text("stream", "false"), text("temperature", "0.2")]),
    ("transcription", [text("model", "openai/w"), AUDIO, text("stream", "True"), text("odd", "")]),
    ("image_edit", [text("model", "openai/w"), text("prompt", "x"), upload("image"), upload("mask")]),
    ("image_edit", [text("model", "openai/w"), text("prompt", "x"), upload("image[]"), upload("image[]")]),
    ("image_edit", [text("model", "openai/w"), text("type", "background_removal"), upload("image")]),
    ("image_edit", [text("model", "openai/w"), text("prompt", "x"), upload("image"), text("n", "2")]),
    ("image_variation", [text("model", "openai/w"), upload("image"), text("stream", "true")]),
    ("image_variation", [text("model", "openai/w"), upload("image[]"), text("n", "-1")]),
]


@pytest.mark.parametrize(("request_type", "parts"), FORMS)
def test_a_valid_form_is_taken_as_it_came(request_type: str, parts: list[Part]) -> None:
    request = parse_parts(request_type, parts)
    assert request.content.kind == "multipart"
    assert parse_form(request.content.data, request.content.content_type).parts == parts


REFUSED_FORMS: list[tuple[str, list[Part], str]] = [
    ("transcription", [AUDIO], "model"),
    ("transcription", [text("model", ""), AUDIO], "model"),
    ("transcription", [text("model", "openai/w")], "file"),
    ("transcription", [text("model", "openai/w"), text("file", "RIFF")], "file"),
    ("transcription", [text("model", "openai/w"), AUDIO, text("stream", "true")], "stream"),
    ("image_edit", [text("model", "openai/w"), text("prompt", "x")], "image"),
    ("image_edit", [text("model", "openai/w"), upload("image")], "prompt"),
    ("image_edit", [text("model", "openai/w"), upload("image"), text("prompt", "x"), text("n", "two")], "n"),
    ("image_edit", [text("model", "openai/w"), upload("image"), text("prompt", "x"), text("stream", "true")], "stream"),
    ("image_edit", [text("model", "openai/w"), upload("image"), text("stream", "true")], "prompt"),
    ("image_variation", [text("model", "openai/w")], "image"),
    ("image_variation", [text("model", "openai/w"), upload("image"), text("n", "1.5")], "n"),
    ("image_variation", [upload("image")], "model"),
]


@pytest.mark.parametrize(("request_type", "parts", "field"), REFUSED_FORMS)
def test_an_invalid_form_is_refused_with_its_field(request_type: str, parts: list[Part], field: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_parts(request_type, parts)
    assert f"'{field}" in caught.value.message


def test_the_first_of_repeated_texts_counts() -> None:
    parts = [text("model", "openai/first"), text("model", "openai/second"), AUDIO]
    assert parse_parts("transcription", parts).targets[0].model == "first"


def test_form_fallbacks_are_repeated_texts_or_one_json_list() -> None:
    repeated = [text("model", "openai/a"), AUDIO, text("fallbacks", "openai/b"), text("fallbacks", "openai/c")]
    listed = [text("model", "openai/a"), AUDIO, text("fallbacks", '[{"provider":"openai","model":"b"},"openai/c"]')]
    for parts in (repeated, listed):
        assert [target.model for target in parse_parts("transcription", parts).targets] == ["a", "b", "c"]


@pytest.mark.parametrize("content_type", ["", "application/json", "multipart/form-data", "multipart/mixed; boundary=x"])
def test_a_form_route_takes_nothing_but_a_form_with_a_boundary(content_type: str) -> None:
    with pytest.raises(BadRequest, match="multipart"):
        parse_json("transcription", b"{}", content_type)


def test_a_file_above_the_limit_is_a_413() -> None:
    with pytest.raises(Refusal) as caught:
        parse_parts("transcription", [text("model", "openai/w"), upload("file", bytes(2000))], max_bytes=1000)
    assert caught.value.status == 413


@pytest.mark.parametrize(
    "values",
    [b"1," * 1_000_000, (b"[" * 50 + b"]" * 50 + b",") * 20_000, (b'{"a":' * 50 + b"1" + b"}" * 50 + b",") * 20_000],
    ids=["numbers", "nested lists", "nested objects"],
)
def test_a_large_body_of_very_many_values_is_a_413(values: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        parse_json("embedding", b'{"model":"openai/m","input":"a","x":[' + values + b"1]}")
    assert caught.value.status == 413


def test_a_small_body_may_be_nothing_but_lists() -> None:
    lists = b"[]," * 80_000
    assert parse_json("embedding", b'{"model":"openai/m","input":"a","x":[' + lists + b"1]}").targets


def test_a_text_with_very_many_commas_and_brackets_is_one_value() -> None:
    text = b'a \\" b, \\\\' + b",[{" * validation.MAX_VALUES
    assert parse_json("embedding", b'{"model":"openai/m","input":"' + text + b'"}').targets


@pytest.mark.parametrize(
    ("request_type", "body"),
    [
        ("embedding", {"model": "local/nope", "input": "a"}),
        ("chat_completion", {"model": "local/minilm", "messages": [{"role": "user", "content": "a"}]}),
        ("image_generation", {"model": "local/minilm", "prompt": "a"}),
    ],
)
def test_a_local_model_that_does_not_exist_for_the_endpoint_is_refused_at_the_submit(
    request_type: str, body: dict[str, object]
) -> None:
    with pytest.raises(BadRequest, match="no local model for") as caught:
        parse_json(request_type, json.dumps(body).encode())
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("tables", "local_models", "setting"),
    [
        ({}, ["minilm", "rapidocr"], "COATCHECK_LOCAL_MODELS"),
        ({"local": {"models": ["minilm", "rapidocr"]}}, [], "providers.local.models"),
    ],
)
def test_a_local_model_that_is_not_listed_is_refused_at_the_submit_with_the_setting(
    tables: dict[str, dict[str, object]], local_models: list[str], setting: str
) -> None:
    parse = parser(BY_TYPE["rerank"], configured(tables, {}, local_models), "", MIB)
    body = b'{"model":"local/minilm-biencoder","query":"a","documents":["b"]}'
    with pytest.raises(BadRequest) as caught:
        parse(body, "", False)
    assert caught.value.code == "model_not_found"
    assert f"not served here: {setting} lists minilm, rapidocr" in str(caught.value)


@pytest.mark.parametrize("listed", [["all"], ["minilm", "minilm-biencoder"]])
def test_a_local_model_that_is_listed_or_may_be_installed_elsewhere_is_accepted(listed: list[str]) -> None:
    parse = parser(BY_TYPE["rerank"], configured({}, {}, listed), "", MIB)
    assert parse(b'{"model":"local/minilm-biencoder","query":"a","documents":["b"]}', "", False).targets


def test_a_local_fallback_that_is_not_listed_is_dropped() -> None:
    providers = {**PROVIDERS, **configured({}, {}, ["minilm"])}
    body = b'{"model":"openai/m","query":"a","documents":["b"],"fallbacks":["local/minilm-biencoder"]}'
    assert [each.model for each in parser(BY_TYPE["rerank"], providers, "", MIB)(body, "", False).targets] == ["m"]


def test_a_local_fallback_that_cannot_answer_is_dropped() -> None:
    body = {"model": "openai/m", "input": "a", "fallbacks": ["local/nope", "local/rapidocr", "local/minilm"]}
    targets = parse_json("embedding", json.dumps(body).encode()).targets
    assert [target.model for target in targets] == ["m", "minilm"]


def test_only_the_drop_in_routes_take_the_background_field_out() -> None:
    body = (
        b'{"model":"openai/m", "background" : true,"input":[{"background":true,"n":1.10}],"x":12345678901234567890123}'
    )
    native = parser(BY_TYPE["responses"], PROVIDERS, "", MIB)(body, "", True)
    openai_responses = parser(BY_TYPE["responses"], PROVIDERS, "", MIB, takes_background=True)(body, "", True)
    assert (native.content.data, native.background) == (body, None)
    assert openai_responses.background is True
    assert openai_responses.content.data == (
        b'{"model":"openai/m","input":[{"background":true,"n":1.10}],"x":12345678901234567890123}'
    )
    assert openai_responses.digest != native.digest


@pytest.mark.parametrize(
    ("said", "wish"), [(b"", None), (b',"background":null', False), (b',"background":false', False)]
)
def test_what_the_body_says_about_the_background_is_kept_apart(said: bytes, wish: bool | None) -> None:
    parse = parser(BY_TYPE["responses"], PROVIDERS, "", MIB, takes_background=True)
    request = parse(b'{"model":"openai/m","input":"x"' + said + b"}", "", False)
    assert (request.background, request.content.data) == (wish, b'{"model":"openai/m","input":"x"}')


async def test_large_bodies_are_read_beside_the_event_loop_one_at_a_time() -> None:
    running = most = 0
    loop = asyncio.get_running_loop()
    both_asked = asyncio.Event()

    def parse(data: bytes, content_type: str, digest: bool) -> ParsedRequest:
        nonlocal running, most
        running += 1
        most = max(most, running)
        asyncio.run_coroutine_threadsafe(both_asked.wait(), loop).result(5)
        running -= 1
        return parse_json("embedding", b'{"input":"x","model":"openai/a"}')

    reader = BodyReader(parse, asyncio.Semaphore(1))
    calls = [asyncio.create_task(reader.read(bytes(validation.LARGE_BODY + 1), "", digest=False)) for _ in range(3)]
    await asyncio.sleep(0)
    both_asked.set()
    await asyncio.gather(*calls)
    assert most == 1
