"""JSON bodies: every valid request of the contract is taken, every other one is refused with the field in the text."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge.submit.validation import parser
from shared.domain.catalogue import BY_TYPE
from shared.domain.errors import BadRequest, Refusal, UnsupportedBody
from shared.domain.target import Target
from tests.unit.edge.submit.parsing import MIB, PROVIDERS, M, parse_json

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
