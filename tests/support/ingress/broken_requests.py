"""Requests that must be refused, each with the status that says so."""

from __future__ import annotations

from tests.support.ingress.server import chunked, head

HOSTED = ("POST /jobs HTTP/1.1", "Host: door")
MANY = [f"X-{i}: 1" for i in range(105)]
REFUSED = {
    "no host": (400, head("POST /jobs HTTP/1.1", "Content-Length: 2") + b"{}"),
    "two hosts": (400, head(*HOSTED, "Host: other", "Content-Length: 2") + b"{}"),
    "two lengths": (400, head(*HOSTED, "Content-Length: 2", "Content-Length: 2") + b"{}"),
    "listed lengths": (400, head(*HOSTED, "Content-Length: 2, 2") + b"{}"),
    "signed length": (400, head(*HOSTED, "Content-Length: +2") + b"{}"),
    "negative length": (400, head(*HOSTED, "Content-Length: -1") + b"{}"),
    "hex length": (400, head(*HOSTED, "Content-Length: 0x2") + b"{}"),
    "superscript length": (400, head(*HOSTED, "Content-Length: \xb2") + b"{}"),
    "length and chunked": (400, head(*HOSTED, "Content-Length: 2", "Transfer-Encoding: chunked") + b"0\r\n\r\n"),
    "length of 13 digits": (413, head(*HOSTED, "Content-Length: 1000000000000")),
    "length of 23 digits": (400, head(*HOSTED, "Content-Length: 10000000000000000000000")),
    "length above the cap": (413, head(*HOSTED, "Content-Length: 1000001")),
    "chunked on 1.0": (400, head("POST /jobs HTTP/1.0", "Host: door", "Transfer-Encoding: chunked") + b"0\r\n\r\n"),
    "xchunked": (501, head(*HOSTED, "Transfer-Encoding: xchunked") + b"2\r\n{}\r\n0\r\n\r\n"),
    "gzip and chunked": (501, head(*HOSTED, "Transfer-Encoding: gzip, chunked") + b"2\r\n{}\r\n0\r\n\r\n"),
    "chunked twice": (400, head(*HOSTED, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + b"0\r\n\r\n"),
    "odd chunked": (400, head(*HOSTED, "Transfer-Encoding: \x0bchunked") + b"0\r\n\r\n"),
    "compressed": (415, head(*HOSTED, "Content-Encoding: gzip", "Content-Length: 2") + b"{}"),
    "odd expectation": (417, head(*HOSTED, "Expect: foo", "Content-Length: 2") + b"{}"),
    "long target": (414, head("GET /" + "x" * 5000 + " HTTP/1.1", "Host: door")),
    "105 headers": (431, head(*HOSTED, *MANY, "Content-Length: 2") + b"{}"),
    "header of 9 KB": (431, head(*HOSTED, "X-Long: " + "x" * 9000, "Content-Length: 2") + b"{}"),
    "headers of 20 KB": (431, head(*HOSTED, *(f"X-{i}: {'x' * 7000}" for i in range(3)), "Content-Length: 2") + b"{}"),
    "version 2.0": (505, head("POST /jobs HTTP/2.0", "Host: door", "Content-Length: 2") + b"{}"),
    "version 3.7": (400, head("POST /jobs HTTP/3.7", "Host: door", "Content-Length: 2") + b"{}"),
    "version 0.9": (505, b"GET /jobs\r\n\r\n"),
    "HTTP/2 preface": (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "TLS": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500)),
    "unknown method": (400, head("FOO /jobs HTTP/1.1", "Host: door")),
    "lower-case method": (400, head("post /jobs HTTP/1.1", "Host: door", "Content-Length: 2") + b"{}"),
    "CONNECT": (400, head("CONNECT door:80 HTTP/1.1", "Host: door")),
    "raw UTF-8 in the path": (400, head("POST /j\xc3\xb6bs HTTP/1.1", "Host: door", "Content-Length: 2") + b"{}"),
    "bare LF": (400, b"POST /jobs HTTP/1.1\nHost: door\nContent-Length: 2\n\n{}"),
    "folded header": (400, head(*HOSTED, "X-A: 1", " 2", "Content-Length: 2") + b"{}"),
    "space before the colon": (400, head(*HOSTED, "Content-Length : 2") + b"{}"),
    "NUL in a value": (400, head(*HOSTED, "X-A: a\x00b", "Content-Length: 2") + b"{}"),
    "CR in a value": (400, head(*HOSTED, "X-A: a\rb", "Content-Length: 2") + b"{}"),
    "empty name": (400, head(*HOSTED, ": a", "Content-Length: 2") + b"{}"),
    "chunk size of 17 digits": (400, chunked(end=b"00000000000000002\r\n{}\r\n0\r\n\r\n".replace(b"0", b"f", 1))),
    "bad chunk size": (400, chunked(b"{}", end=b"zz\r\n")),
    "bad chunk terminator": (400, chunked(end=b"2\r\n{}XX0\r\n\r\n")),
    "length as a trailer": (400, chunked(b"{}", end=b"0\r\nContent-Length: 9\r\n\r\n")),
}
