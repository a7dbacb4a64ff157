"""The abuse catalogue: requests that somebody careless or hostile sends, each with the answer it must get.

The numbers are those of docs/abuse.md. A request that makes a job is answered with 202, every other one makes none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from tests.support.ingress.broken_requests import REFUSED
from tests.support.ingress.server import head

EMBEDDINGS = "/v1/async/embeddings"
UPLOADS = "/v1/async/audio/transcriptions"
UNKNOWN_ID = "019ac0de-0000-7000-8000-000000000000"
WELL = b'{"model":"openai/m","input":"a"}'


@dataclass(frozen=True)
class Abuse:
    """One request and the status of its answer."""

    row: int
    name: str
    status: int
    request: bytes

    def __str__(self) -> str:
        return f"{self.row} {self.name}"


def post(body: bytes, *headers: str, target: str = EMBEDDINGS) -> bytes:
    """A POST of exactly these bytes."""
    return head(f"POST {target} HTTP/1.1", "Host: door", f"Content-Length: {len(body)}", *headers) + body


def get(target: str, *headers: str, method: str = "GET") -> bytes:
    """A request without a body."""
    return head(f"{method} {target} HTTP/1.1", "Host: door", *headers)


def asking(**fields: object) -> bytes:
    """A submit that is valid but for these fields."""
    return post(json.dumps({"model": "openai/m", "input": "a"} | fields).encode())


FILE = b'Content-Disposition: form-data; name="file"; filename="a.mp3"\r\nContent-Type: audio/mpeg\r\n\r\nID3'
MODEL = b'Content-Disposition: form-data; name="model"\r\n\r\nopenai/m'


def form(*parts: bytes, boundary: str = "b", end: bytes = b"--b--\r\n", declared: str | None = None) -> bytes:
    """A multipart submit of these parts, headers and all."""
    body = b"".join(b"--" + boundary.encode() + b"\r\n" + part + b"\r\n" for part in parts) + end
    declared = f"multipart/form-data; boundary={boundary}" if declared is None else declared
    return post(body, f"Content-Type: {declared}", target=UPLOADS)


def named(text: str) -> bytes:
    """A file part with this file name."""
    return FILE.replace(b"a.mp3", text.encode())


def _rows(number: int, status: int, **requests: bytes) -> Iterable[Abuse]:
    return (Abuse(number, name.replace("_", " "), status, request) for name, request in requests.items())


DEEP = b'{"model":"openai/m","input":"a","extra":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
JSON = [
    *_rows(1, 400, empty=post(b"")),
    *_rows(
        2,
        400,
        malformed=post(b'{"model":'),
        trailing_bytes=post(WELL + b"x"),
        byte_order_mark=post(b"\xef\xbb\xbf" + WELL),
        raw_control_character=post(b'{"model":"openai/m","input":"a\x01"}'),
    ),
    *_rows(3, 400, invalid_utf_8=post(b'{"model":"openai/m","input":"\xff"}')),
    *_rows(4, 400, nested_100_000_deep=post(DEEP)),
    *_rows(
        5,
        400,
        not_a_number=post(b'{"model":"openai/m","input":"a","x":NaN}'),
        infinity=post(b'{"model":"openai/m","input":"a","x":Infinity}'),
        number_beyond_any_float=post(b'{"model":"openai/m","input":"a","x":1e999}'),
    ),
    *_rows(6, 400, integer_of_5000_digits=post(b'{"model":"openai/m","input":"a","dimensions":' + b"9" * 5000 + b"}")),
    *_rows(6, 202, integer_above_64_bits=asking(dimensions=2**70)),
    *_rows(7, 202, duplicate_keys=post(b'{"model":"openai/x","model":"openai/m","input":"a"}')),
    *_rows(
        8,
        400,
        lone_surrogate=post(rb'{"model":"openai/m","input":"\ud800"}'),
        lone_surrogate_in_a_key=post(rb'{"model":"openai/m","input":"a","\udfff":1}'),
    ),
    *_rows(9, 400, NUL_in_the_model=post(rb'{"model":"openai/\u0000","input":"a"}')),
    *_rows(9, 202, NUL_in_the_prompt=post(rb'{"model":"openai/m","input":"a\u0000b","\u0000":1}')),
    *_rows(10, 400, scalar=post(b"7"), text=post(b'"a"'), array=post(b"[" + WELL + b"]"), null=post(b"null")),
    *_rows(11, 202, unknown_field=asking(nobody_knows={"this": ["one"]})),
    *_rows(
        12,
        400,
        wrong_type=asking(input=7),
        model_of_the_wrong_type=asking(model=["openai/m"]),
        unknown_provider=asking(model="nobody/m"),
        model_of_10_KB=asking(model="openai/" + "m" * 10_000),
        no_model=post(b'{"input":"a"}'),
    ),
    *_rows(
        13,
        202,
        keys_that_look_like_expressions=asking(**{"$where": "sleep(9)", "a.b": 1, "__proto__": {}, "$set": {"x": 1}}),
        model_that_looks_like_one=asking(model="openai/$where"),
    ),
    *_rows(
        54, 400, deadline_0=post(WELL, "x-coatcheck-deadline: 0"), deadline_text=post(WELL, "x-coatcheck-deadline: x")
    ),
    *_rows(
        54,
        400,
        deadline_below_0=post(WELL, "x-coatcheck-deadline: -5"),
        deadline_1_5=post(WELL, "x-coatcheck-deadline: 1.5"),
    ),
    *_rows(
        54,
        202,
        huge_deadline=post(WELL, "x-coatcheck-deadline: 1000000000000"),
        **{
            f"ttl_{value}": post(WELL, f"x-bf-async-job-result-ttl: {value}")
            for value in ("0", "-1", "1.5", "soon", "1000000000000", "9" * 5000)
        },
    ),
    *_rows(57, 413, prompt_of_10_MB=post(b'{"model":"openai/m","input":"' + b"x" * 10_000_000 + b'"}')),
    *_rows(57, 202, hundred_thousand_texts=post(b'{"model":"openai/m","input":[' + b'"a",' * 99_999 + b'"a"]}')),
    *_rows(
        64,
        202,
        fallback_to_itself=asking(fallbacks=["openai/m", "openai/m"]),
        thousand_fallbacks=asking(fallbacks=["openai/m"] * 1000),
        fallbacks_that_are_none=asking(fallbacks=[{}, "", "nobody/m", {"provider": "openai"}]),
    ),
]

MEDIA = [
    *_rows(14, 413, declared_above_the_limit=get(EMBEDDINGS, "Content-Length: 1000001", method="POST")),
    *_rows(20, 415, gzip=post(b"\x1f\x8b\x08" + bytes(30), "Content-Encoding: gzip")),
    *_rows(20, 415, brotli=post(WELL, "Content-Encoding: br"), twice=post(WELL, "Content-Encoding: identity, gzip")),
    *_rows(
        21,
        202,
        text=post(WELL, "Content-Type: text/plain"),
        none=post(WELL),
        garbage=post(WELL, "Content-Type: \xff;;;="),
        two=post(WELL, "Content-Type: text/plain", "Content-Type: application/json"),
    ),
    *_rows(22, 202, other_charset=post(WELL, "Content-Type: application/json; charset=utf-16")),
    *_rows(23, 415, form_on_a_JSON_route=post(WELL, "Content-Type: multipart/form-data; boundary=b")),
    *_rows(
        23,
        400,
        JSON_on_a_form_route=post(WELL, "Content-Type: application/json", target=UPLOADS),
        nothing_on_a_form_route=post(WELL, target=UPLOADS),
    ),
    *_rows(
        24,
        400,
        no_boundary=form(MODEL, FILE, declared="multipart/form-data"),
        boundary_of_71=form(MODEL, FILE, boundary="b" * 71, end=b"--" + b"b" * 71 + b"--\r\n"),
        parts_65=form(*[MODEL] * 64, FILE),
        part_header_of_9_KB=form(MODEL, b"X-Long: " + b"x" * 9000 + b"\r\n" + FILE),
        base64_encoding=form(MODEL, b"Content-Transfer-Encoding: base64\r\n" + FILE),
        no_final_boundary=form(MODEL, FILE, end=b""),
    ),
    *_rows(24, 202, bytes_after_the_final_boundary=form(MODEL, FILE, end=b"--b--\r\nmore")),
    *_rows(25, 400, no_file=form(MODEL), no_model_part=form(FILE), part_without_a_name=form(MODEL, b"\r\nx", FILE)),
    *_rows(
        25,
        202,
        repeated_part=form(MODEL, MODEL, FILE),
        unknown_part=form(MODEL, FILE, MODEL.replace(b"model", b"nobody knows")),
        two_files=form(MODEL, FILE, FILE),
    ),
    *_rows(26, 413, text_part_above_the_limit=form(MODEL, FILE, MODEL.replace(b"model", b"prompt") + b"x" * 2_000_000)),
    *_rows(
        27,
        202,
        path_as_a_file_name=form(MODEL, named("../../etc/passwd")),
        NUL_in_a_file_name=form(MODEL, named("a%00.mp3")),
        right_to_left_file_name=form(MODEL, named("\u202e3pm.exe")),
        file_name_of_4_KB=form(MODEL, named("x" * 4000)),
        file_name_in_quotes=form(MODEL, named('a\\";evil="')),
    ),
    *_rows(
        28,
        202,
        file_that_is_no_audio=form(MODEL, FILE.replace(b"ID3", b"#!/bin/sh")),
        empty_file=form(MODEL, FILE[:-3]),
    ),
]

HTTP = [
    *_rows(
        33,
        404,
        encoded_NUL=get(f"{EMBEDDINGS}/%00"),
        braces=get(f"{EMBEDDINGS}/%7B{UNKNOWN_ID}%7D"),
        id_of_3_KB=get(f"{EMBEDDINGS}/{'x' * 3000}"),
        dots=get(f"{EMBEDDINGS}/%2e%2e"),
        unknown_id=get(f"{EMBEDDINGS}/{UNKNOWN_ID}"),
        expression=get(f"{EMBEDDINGS}/$ne"),
        query=get(f"{EMBEDDINGS}/{UNKNOWN_ID}?id[$ne]=1"),
        id_without_dashes=get(f"{EMBEDDINGS}/{'0' * 32}"),
    ),
    *_rows(
        37,
        405,
        TRACE=get(EMBEDDINGS, method="TRACE"),
        PATCH=get(EMBEDDINGS, method="PATCH"),
        DELETE_of_a_job=get(f"{EMBEDDINGS}/{UNKNOWN_ID}", method="DELETE"),
        GET_of_a_submit=get(EMBEDDINGS),
    ),
    *_rows(
        38,
        200,
        OPTIONS=get(EMBEDDINGS, method="OPTIONS"),
        HEAD=get("/livez", "Connection: close", method="HEAD"),
    ),
    *_rows(40, 404, absolute_form_to_another_host=get("http://evil.example/v1")),
    *_rows(48, 200, GET_with_a_body=head("GET /livez HTTP/1.1", "Host: door", "Content-Length: 5") + b"hello"),
    *_rows(
        50,
        200,
        h2c=get("/livez", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQ"),
        websocket=get("/livez", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    ),
    *_rows(50, 202, h2c_with_a_body=post(WELL, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c")),
    *_rows(
        51,
        404,
        double_slash=post(WELL, target="/" + EMBEDDINGS),
        encoded_dots=post(WELL, target="/v1/%2e%2e/v1/async/embeddings"),
        dots=post(WELL, target="/v1/../v1/async/embeddings"),
        invalid_UTF_8=post(WELL, target="/%ff"),
        encoded_CRLF=post(WELL, target="/%0d%0aX-Evil:1"),
    ),
    *_rows(51, 405, trailing_slash=get(EMBEDDINGS + "/")),
    *_rows(51, 202, submit_with_a_trailing_slash=post(WELL, target=EMBEDDINGS + "/")),
    *_rows(52, 200, CRLF_in_a_request_id=get("/livez", "X-Request-Id: a%0d%0aX-Evil: 1")),
    *_rows(
        53,
        200,
        forged_address=get("/livez", "X-Forwarded-For: 127.0.0.1", "Forwarded: for=127.0.0.1", "X_Forwarded_For: 1"),
    ),
    *_rows(63, 404, metrics=get("/metrics"), environment=get("/.env"), admin=get("/admin"), traces=get("/debug/pprof")),
]

KEYS = [
    *_rows(30, 400, unknown=post(WELL, "x-bf-vk: sk-bf-nobody"), not_ASCII=post(WELL, "x-bf-vk: \xff\xfe")),
    *_rows(30, 400, of_4_KB=post(WELL, "Authorization: Bearer sk-bf-" + "k" * 4000)),
    *_rows(30, 431, of_10_KB=post(WELL, "Authorization: Bearer sk-bf-" + "k" * 10_000)),
    *_rows(
        36,
        400,
        idempotency_key_of_256=post(WELL, "Idempotency-Key: " + "k" * 256),
        empty_idempotency_key=post(WELL, "Idempotency-Key:"),
        tab_in_the_idempotency_key=post(WELL, "Idempotency-Key: a\tb"),
        idempotency_key_not_in_ASCII=post(WELL, "Idempotency-Key: \xe9"),
    ),
]

_BROKEN_ROWS = {
    14: ("length above the cap",),
    37: ("unknown method", "lower-case method", "CONNECT"),
    39: ("version 2.0", "version 3.7", "version 0.9", "HTTP/2 preface", "TLS"),
    40: ("no host", "two hosts"),
    41: (
        "two lengths", "listed lengths", "signed length", "negative length", "hex length", "superscript length",
        "length and chunked",
    ),
    42: ("length of 13 digits", "length of 23 digits", "chunk size of 17 digits", "bad chunk size"),
    43: ("chunked on 1.0", "xchunked", "gzip and chunked", "chunked twice", "odd chunked"),
    44: ("bare LF", "folded header", "space before the colon", "NUL in a value", "CR in a value", "empty name"),
    45: ("length as a trailer", "bad chunk terminator"),
    46: ("long target", "105 headers", "header of 9 KB", "headers of 20 KB"),
    47: ("odd expectation",),
    51: ("raw UTF-8 in the path",),
}  # fmt: skip
ROW_OF = {name: row for row, names in _BROKEN_ROWS.items() for name in names} | {"compressed": 20}

BROKEN = [
    Abuse(ROW_OF[name], name, status, request.replace(b" /jobs", b" " + EMBEDDINGS.encode()))
    for name, (status, request) in REFUSED.items()
]
CATALOGUE = [*JSON, *MEDIA, *HTTP, *KEYS, *BROKEN]
