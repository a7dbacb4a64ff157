"""What clients send that nothing brings into the tests: undici's own calls as recorded, heads in .NET's style."""

from __future__ import annotations

_JSON = b'{"model":"openai/m","input":"a text"}'


def _request(*lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join([*lines, "", ""]).encode() + body


def _chunks(*pieces: bytes) -> bytes:
    return b"".join(b"%X\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])


def _form(boundary: str, *parts: tuple[str, bytes]) -> bytes:
    lines = [f"--{boundary}\r\n{head}\r\n\r\n".encode() + data + b"\r\n" for head, data in parts]
    return b"".join(lines) + f"--{boundary}--\r\n".encode()


_UNDICI = "----formdata-undici-048473562116"
_UNDICI_FORM = _form(
    _UNDICI,
    ('Content-Disposition: form-data; name="model"', b"openai/m"),
    ('Content-Disposition: form-data; name="image"; filename="a.png"\r\nContent-Type: image/png', b"\x01\x02"),
)
_NET = "d174ee2f-8a1b-4a0e-9f39-4b9d8b2f4e11"

SUBMITS = {
    "undici": _request(
        "POST /v1/async/embeddings HTTP/1.1", "host: 127.0.0.1:8080", "connection: keep-alive",
        "content-type: application/json", f"content-length: {len(_JSON)}", body=_JSON,
    ),
    ".NET": _request(
        "POST /v1/async/embeddings HTTP/1.1", "Host: localhost:8080", "Request-Id: |2d1f4c9a-4f2b5c3e8d7a6b90.1.",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", "Transfer-Encoding: chunked",
        "Content-Type: application/json; charset=utf-8", body=_chunks(_JSON),
    ),
    ".NET Framework": _request(
        "POST /v1/async/embeddings HTTP/1.1", "Content-Type: application/json; charset=utf-8", "Host: localhost:8080",
        f"Content-Length: {len(_JSON)}", "Expect: 100-continue", "Connection: Keep-Alive", body=_JSON,
    ),
}  # fmt: skip
POLLS = {
    "undici": _request("GET LOCATION HTTP/1.1", "host: 127.0.0.1:8080", "connection: keep-alive"),
    ".NET": _request("GET LOCATION HTTP/1.1", "Host: localhost:8080"),
    ".NET Framework": _request("GET LOCATION HTTP/1.1", "Host: localhost:8080"),
}
FORMS = {
    "undici": _request(
        "POST /v1/async/images/variations HTTP/1.1", "host: 127.0.0.1:8080", "connection: keep-alive",
        f"content-type: multipart/form-data; boundary={_UNDICI}", f"content-length: {len(_UNDICI_FORM)}",
        body=_UNDICI_FORM,
    ),
    ".NET": _request(
        "POST /v1/async/images/variations HTTP/1.1", "Host: localhost:8080",
        f'Content-Type: multipart/form-data; boundary="{_NET}"', "Transfer-Encoding: chunked",
        body=_chunks(_form(
            _NET,
            ("Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=model", b"openai/m"),
            (
                "Content-Type: image/png\r\nContent-Disposition: form-data; name=image; filename=a.png; "
                "filename*=utf-8''a.png", b"\x01\x02",
            ),
        )),
    ),
}  # fmt: skip
FORMS[".NET Framework"] = FORMS[".NET"]
