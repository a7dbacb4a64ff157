"""Which origins may read answers."""

from __future__ import annotations

import falcon.asgi
from falcon.testing import TestClient

from edge.ingress.cors import CorsMiddleware, RefusalOrigins


class Hello:
    async def on_get(self, _req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        resp.text = "hello"


def test_a_star_lets_every_origin_read_answers_and_refusals() -> None:
    allowed = ("*", "https://app.example")
    app = falcon.asgi.App(middleware=[CorsMiddleware(allowed)])
    app.add_route("/", Hello())
    answer = TestClient(app).simulate_get("/", headers={"Origin": "https://other.example"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert (b"access-control-allow-origin", b"*") in RefusalOrigins(allowed).headers([b"https://other.example"])


def test_without_a_star_only_the_named_origins_read_refusals() -> None:
    refusals = RefusalOrigins(("https://app.example",))
    assert (b"access-control-allow-origin", b"https://app.example") in refusals.headers([b"https://app.example"])
    assert refusals.headers([b"https://other.example"]) == [(b"vary", b"Origin")]
    assert RefusalOrigins().headers([b"https://app.example"]) == []
