"""Both clients behind one blocking face, so that each test of a verb runs against both drivers."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings

from coatcheck_client import AsyncCoatcheck, Coatcheck, Outcome
from coatcheck_client.testing import FakeServer

settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

Open = Callable[..., Any]


class Blocking:
    """`AsyncCoatcheck` with the methods of `Coatcheck`; `map` gives a list."""

    def __init__(self, runner: asyncio.Runner, **options: Any) -> None:
        self._runner = runner
        self._client = AsyncCoatcheck(**options)

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: self._runner.run(getattr(self._client, verb)(*args, **kwargs))

    def __repr__(self) -> str:
        return repr(self._client)

    def map(self, *args: Any, **kwargs: Any) -> list[Outcome]:
        async def collect() -> list[Outcome]:
            return [outcome async for outcome in self._client.map(*args, **kwargs)]

        return self._runner.run(collect())


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture(params=["blocking", "asyncio"])
def open_client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Makes clients of one kind, without retries or an environment unless asked, and closes them."""
    monkeypatch.delenv("COATCHECK_URL", raising=False)
    monkeypatch.delenv("COATCHECK_API_KEY", raising=False)
    opened = []
    with asyncio.Runner() as runner:

        def make(server: FakeServer | None = None, **options: Any) -> Any:
            transport = {} if server is None else {"transport": server.transport}
            kind = Coatcheck if request.param == "blocking" else lambda **more: Blocking(runner, **more)
            opened.append(kind(**{"retries": 0, **transport, **options}))
            return opened[-1]

        yield make
        for client in opened:
            client.close()
