"""One HTTP/1.1 connection of the scripted upstream, down to the bytes: it must be able to break every rule."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from functools import partial
from typing import Any, cast

import httptools
import msgspec

from coatcheck.drill.model.requests import markers_in
from coatcheck.drill.upstream.call_log import CallLog, UpstreamCall
from coatcheck.drill.upstream.odd_answers import ODD_ANSWERS, bomb, flood_pieces
from shared.domain.catalogue import CATALOGUE
from shared.domain.content import Content
from workers.provider_interface import Answer
from workers.providers.scripted.answers import answer_to, read_request
from workers.providers.scripted.provider import Failure, Script, ScriptError, delay_of, failure_of, parse_script

_TYPES = {f"/v1{endpoint.upstream_path}": endpoint for endpoint in CATALOGUE}
_DRIP_SECONDS = 0.2
_HEAD = b"HTTP/1.1 %d Scripted\r\ncontent-type: %b\r\ncontent-length: %d\r\nx-request-id: req_scripted\r\n%b\r\n"
_FLOOD_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n%b\r\n"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_PAGE = b"<html><head><title>oops</title></head><body><h1>502 Bad Gateway</h1></body></html>"


class UpstreamProtocol(asyncio.Protocol):
    """Answers one request at a time. Clients must not send the next one before the answer."""

    def __init__(self, log: CallLog, api_key: str) -> None:
        self._log = log
        self._authorization = f"Bearer {api_key}".encode() if api_key else None
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._headers: dict[bytes, bytes] = {}
        self._url = b""
        self._body: list[bytes] = []
        self._asked = ""
        self._call: UpstreamCall | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._flood: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._flood is not None:
            self._flood.cancel()
        self._end("gone")

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def on_message_begin(self) -> None:
        self._headers, self._url, self._body = {}, b"", []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        path = self._url.decode("latin-1").partition("?")[0]
        if self._authorization and self._headers.get(b"authorization") != self._authorization:
            self._send_error(401, "invalid API key", "authentication_error")
        elif path == "/counters":
            self._send(200, msgspec.json.encode(self._log.counters()))
        elif path == "/v1/models":
            self._send(200, b'{"object":"list","data":[{"id":"scripted","object":"model","owned_by":"coatcheck"}]}')
        elif path in _TYPES and self._parser.get_method() == b"POST":
            self._answer(path, b"".join(self._body))
        else:
            self._send_error(404, f"no such path: {path[:200]}", "invalid_request_error")

    def _answer(self, path: str, body: bytes) -> None:
        endpoint = _TYPES[path]
        content_type = self._headers.get(b"content-type", b"").decode("latin-1")
        content = Content("multipart" if endpoint.form else "json", body, content_type)
        try:
            fields = read_request(content)
            model = str(fields.get("model", ""))
            script = parse_script(model)
        except (ValueError, ScriptError) as error:
            self._send_error(400, str(error), "invalid_request_error")
            return
        self._call = self._log.start(path, self._headers, model)
        markers = markers_in(body)
        self._asked = f" for {markers[0]}" if len(markers) == 1 else ""
        # Calls without the header count as different jobs: a share of failures is drawn for each.
        call_id = self._call.call or f"{self._log.calls}"
        if model in ODD_ANSWERS:
            self._send_answer(Answer(ODD_ANSWERS[model], "application/json"), None)
            return
        finish = partial(self._finish, endpoint.request_type, fields, script, call_id)
        if delay := delay_of(script, call_id):
            self._timer = asyncio.get_running_loop().call_later(delay, finish)
        else:
            finish()

    def _finish(self, request_type: str, fields: dict[str, Any], script: Script, call_id: str) -> None:
        failure = failure_of(script, call_id, time.time())
        if failure is not None and failure.mode not in ("drip", "reset", "cut", "truncate"):
            self._fail(failure)
            return
        try:
            answer = answer_to(request_type, fields, str(fields.get("model", "")), script.size)
        except ValueError as error:
            self._end("400")
            self._send_error(400, str(error), "invalid_request_error")
        else:
            self._send_answer(answer, failure)

    def _send_answer(self, answer: Answer, failure: Failure | None) -> None:
        media_type = answer.media_type.encode()
        if failure is None:
            self._end("200")
            self._send(200, answer.body, media_type)
        elif failure.mode == "truncate":
            self._end("truncate")
            self._send(200, answer.body[: len(answer.body) // 2], media_type)
        else:
            self._transport.write(_HEAD % (200, media_type, len(answer.body), b""))
            if failure.mode == "drip":
                self._drip(answer.body, 0)
                return
            self._transport.write(answer.body[: len(answer.body) // 2])
            self._end(failure.mode or "")
            if failure.mode == "reset":
                raw = self._transport.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                self._transport.abort()
            else:
                self._transport.close()

    def _drip(self, body: bytes, position: int) -> None:
        self._transport.write(body[position : position + 1])
        if position + 1 < len(body):
            self._timer = asyncio.get_running_loop().call_later(_DRIP_SECONDS, self._drip, body, position + 1)
        else:
            self._end("200")

    def _fail(self, failure: Failure) -> None:
        if failure.mode == "hang":
            return
        if failure.mode in ("bomb", "huge"):
            self._flood = asyncio.get_running_loop().create_task(self._send_flood(failure.mode))
            return
        self._end(failure.mode or str(failure.status), None if failure.mode else failure.retry_after)
        if failure.mode == "html":
            self._send(502, _PAGE, b"text/html")
        elif failure.mode == "page":
            self._send(200, _PAGE, b"text/html")
        elif failure.mode == "error200":
            self._send_error(200, f"scripted failure 502{self._asked}", "server_error", "scripted_502")
        else:
            status = failure.status
            kind = "rate_limit_error" if status == 429 else "invalid_request_error" if status < 500 else "server_error"
            extra = b"" if failure.retry_after is None else f"retry-after: {failure.retry_after:g}\r\n".encode()
            self._send_error(status, f"scripted failure {status}{self._asked}", kind, f"scripted_{status}", extra)

    async def _send_flood(self, mode: str) -> None:
        encoding = b"content-encoding: gzip\r\n" if mode == "bomb" else b""
        self._transport.write(_FLOOD_HEAD % encoding)
        for piece in [bomb()] if mode == "bomb" else flood_pieces():
            self._transport.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await self._writable.wait()
        self._transport.write(b"0\r\n\r\n")
        self._end("200")

    def _send_error(self, status: int, message: str, kind: str, code: str | None = None, extra: bytes = b"") -> None:
        error = {"message": message, "type": kind, "param": None, "code": code}
        self._send(status, msgspec.json.encode({"error": error}), extra=extra)

    def _send(self, status: int, body: bytes, media_type: bytes = b"application/json", *, extra: bytes = b"") -> None:
        self._transport.write(_HEAD % (status, media_type, len(body), extra) + body)
        if not self._parser.should_keep_alive():
            self._transport.close()

    def _end(self, outcome: str, retry_after: float | None = None) -> None:
        if self._call is not None:
            self._log.end(self._call, outcome, retry_after)
            self._call = None
