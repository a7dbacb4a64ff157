"""What the servers' libraries do where the edge overrides or relies on their inside, as it was when it was read last.

After an upgrade that fails here: read what changed in the method, mend our own beside it, run tests/system/ingress and
tests/system/test_hand_over.py, and put the new digest here.
"""

from __future__ import annotations

import hashlib
import inspect
from typing import Any

import pytest
from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker
from uvicorn.config import Config
from uvicorn.lifespan.on import LifespanOn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import Server, ServerState

from edge.server.http_protocol import HttpProtocol
from edge.server.master import Master, ServerProcess
from edge.server.process import BoundedServer

SUBCLASSES = [(HttpProtocol, HttpToolsProtocol), (BoundedServer, Server), (Master, Arbiter), (ServerProcess, Worker)]

READ = {
    "HttpToolsProtocol.connection_made": "6efb565ff3d3",
    "HttpToolsProtocol.connection_lost": "c91a4c9bf2e2",
    "HttpToolsProtocol.shutdown": "d7351fa33f00",
    "HttpToolsProtocol.data_received": "010a7ae59a5d",
    "HttpToolsProtocol.on_message_begin": "96d377fdc7c2",
    "HttpToolsProtocol.on_header": "65d62c044f61",
    "HttpToolsProtocol.on_headers_complete": "1ea8589acfad",
    "HttpToolsProtocol.on_body": "dba9c32aeba3",
    "HttpToolsProtocol.on_message_complete": "1fbad42dc31f",
    "HttpToolsProtocol._start_asgi_task": "9c08c2571ae9",
    "HttpToolsProtocol.on_response_complete": "64e254f28e38",
    "HttpToolsProtocol.pause_writing": "17a8fd215d96",
    "HttpToolsProtocol.resume_writing": "7844bbaa8cce",
    "Server.__init__": "c150b55284f7",
    "Server.startup": "2aa1d70a244b",
    "Server.handle_exit": "553276efa26e",
    "Arbiter.handle_int": "353549167963",
    "Arbiter.handle_hup": "50de80005cd6",
    "Arbiter.manage_workers": "518f2dd040ef",
    "Arbiter.reap_workers": "ebcf4187e9eb",
    "Arbiter.halt": "f080672e7413",
    "Worker.__init__": "e0f1de2d6057",
    "Worker.init_signals": "65442e0602b0",
    "Worker.load_wsgi": "18b02fc35e96",
    "Worker.run": "49ab292508f4",
    "RequestResponseCycle": "e67d470d435d",
    "FlowControl": "126debcdaa89",
    "ServerState": "f2260fbf1015",
    "LifespanOn.startup": "738a972c3d81",
    "LifespanOn.main": "699f9a37e3f8",
    "Server.shutdown": "9b33c5056299",
    "Arbiter.spawn_worker": "6abc0d90b0b9",
    "Arbiter.kill_worker": "47e1a8ccdca2",
    "Arbiter.murder_workers": "3f8fbfdf473f",
    "Worker.init_process": "114caccd7a0e",
}


def overridden(ours: type, theirs: type) -> list[Any]:
    """The library's functions that the subclass replaces."""
    return [getattr(theirs, name) for name in vars(ours) if inspect.isfunction(vars(theirs).get(name))]


def digest(code: Any) -> str:
    return hashlib.sha256(inspect.getsource(code).encode()).hexdigest()[:12]


def relied_on() -> dict[str, Any]:
    """What is overridden, and what calls or is called by it."""
    methods = [method for ours, theirs in SUBCLASSES for method in overridden(ours, theirs)]
    more = [RequestResponseCycle, FlowControl, ServerState, LifespanOn.startup, LifespanOn.main]
    more += [Server.shutdown, Arbiter.spawn_worker, Arbiter.kill_worker, Arbiter.murder_workers, Worker.init_process]
    return {code.__qualname__: code for code in [*methods, *more]}


def test_what_is_overridden_is_what_was_read() -> None:
    found = {name: digest(code) for name, code in relied_on().items()}
    assert found == READ


def test_a_change_of_an_overridden_method_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def shutdown(self: HttpToolsProtocol) -> None:
        """Another one."""

    monkeypatch.setattr(HttpToolsProtocol, "shutdown", shutdown)
    changed = {code.__qualname__: digest(code) for code in overridden(HttpProtocol, HttpToolsProtocol)}
    assert not changed.items() <= READ.items()


async def test_uvicorn_gives_no_line_to_each_request(caplog: pytest.LogCaptureFixture) -> None:
    config = Config(lambda: None, access_log=False, log_config=None)
    assert not HttpToolsProtocol(config, ServerState(), {}, None).access_log
