"""Places for large answers: who reads slowly loses the place to the next, and nothing stays taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable

import pytest
from falcon.asgi import Request, Response

from edge.http import stream_places
from edge.http.falcon_app import EdgeApp
from edge.http.stream_places import Place, PlacedPieces, Places
from edge.ingress.asgi_types import Message
from edge.ingress.rejection import RequestRejected
from shared.domain.errors import Overloaded


class Client:
    """Takes a piece whenever it is told to."""

    def __init__(self) -> None:
        self.asked = asyncio.Semaphore(0)
        self.got = 0
        self.waits = asyncio.Event()

    async def send(self, message: Message) -> None:
        if body := message.get("body"):
            self.waits.set()
            await self.asked.acquire()
            self.got += len(body)


async def pieces(number: int = 4, size: int = 100) -> AsyncIterator[bytes]:
    for _ in range(number):
        yield bytes(size)


class Large:
    """A route that answers in pieces."""

    def __init__(self, place: Place) -> None:
        self._place = place

    async def on_get(self, req: Request, resp: Response) -> None:
        resp.stream = PlacedPieces(self._place, pieces())

    on_head = on_get


def asked(place: Place, client: Client, method: str = "GET") -> Awaitable[None]:
    app = EdgeApp([])
    app.add_route("/", Large(place))
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": "/"}
    return app({**scope, "query_string": b"", "headers": [], "state": {}}, receive, client.send)


async def receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def sending(place: Place) -> tuple[Client, asyncio.Future[None]]:
    client = Client()
    task = asyncio.ensure_future(asked(place, client))
    await client.waits.wait()
    return client, task


async def test_there_is_no_place_beyond_the_limit_and_each_is_free_again() -> None:
    room = Places(300, "full")
    held = [room.take(100) for _ in range(3)]
    with pytest.raises(Overloaded, match="full"):
        room.take(1)
    for place in [*held, *held]:
        place.leave()
    assert room.taken == 0
    assert room.take(10_000).size == 300  # what is larger than all takes all


async def test_a_reader_that_is_too_slow_loses_its_place_only_when_another_wants_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    room = Places(100, "full")
    client, task = await sending(room.take(100))
    with pytest.raises(Overloaded):
        room.take(100)  # within the grace nobody loses anything
    monkeypatch.setattr(stream_places, "GRACE_SECONDS", -1.0)
    assert room.take(100).size == 100
    with pytest.raises(RequestRejected) as refused:
        await task
    assert (refused.value.reason, client.got, room.taken) == ("slow_reader", 0, 100)


async def test_a_reader_that_is_quick_enough_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_places, "GRACE_SECONDS", -1.0)
    monkeypatch.setattr(stream_places, "LEAST_RATE", 1)
    room = Places(100, "full")
    place = room.take(100)
    client, task = await sending(place)
    for _ in range(3):
        client.asked.release()
    await asyncio.sleep(0)
    while client.got < 300:
        await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        room.take(100)
    client.asked.release()
    await task
    assert (client.got, room.taken) == (400, 0)


async def test_an_answer_that_is_cancelled_by_another_gives_its_place_back_and_stays_cancelled() -> None:
    room = Places(100, "full")
    _, task = await sending(room.take(100))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert room.taken == 0


async def test_an_answer_to_head_gives_its_place_back() -> None:
    room = Places(100, "full")
    await asked(room.take(100), Client(), "HEAD")
    assert room.taken == 0
