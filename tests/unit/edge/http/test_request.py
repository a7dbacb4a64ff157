"""A request as the resources see it, in the real application."""

from __future__ import annotations

from typing import Any

import falcon
import pytest

from edge.http.falcon_app import EdgeApp
from edge.http.request import EdgeRequest
from edge.ingress.asgi_types import Message
from edge.ingress.rejection import RequestRejected


class Echo:
    """Answers with the whole body."""

    async def on_post(self, req: EdgeRequest, resp: falcon.asgi.Response) -> None:
        resp.data = await req.whole_body()


async def asked(*events: Message, method: str = "POST", path: str = "/jobs", query: bytes = b"") -> list[Message]:
    app = EdgeApp([])
    app.add_route("/jobs", Echo())
    coming, sent = list(events), []

    async def receive() -> Message:
        return coming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method}
    await app({**scope, "path": path, "query_string": query, "headers": [], "state": {}}, receive, send)
    assert not coming, "every event of the body is taken"
    return sent


def piece(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_body_is_read_to_its_last_event_though_its_length_was_reached_before() -> None:
    _, answer = await asked(piece(b"", more=True), piece(b"ab", more=True), piece(b"c", more=True), piece(b""))
    assert answer["body"] == b"abc"


@pytest.mark.parametrize("method", ["WEBSOCKET", "BREW"])
async def test_a_method_that_the_framework_knows_otherwise_or_not_at_all_is_405(method: str) -> None:
    start, *_ = await asked(piece(b""), method=method)
    assert start["status"] == 405


@pytest.mark.parametrize(("path", "status"), [("/jobs//", 200), ("//jobs", 404)])
async def test_slashes_too_many_behind_a_path_are_no_error_and_before_it_are(path: str, status: int) -> None:
    start, *_ = await asked(piece(b""), path=path)
    assert start["status"] == status


async def test_a_query_that_is_not_ascii_is_refused_and_not_a_crash() -> None:
    with pytest.raises(RequestRejected) as refused:
        await asked(piece(b""), query=b"a=\xff")
    assert refused.value.status == 400
