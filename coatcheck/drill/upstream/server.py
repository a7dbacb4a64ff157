"""The scripted upstream: an OpenAI-shaped HTTP server whose model names say how it answers; it prints its port."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import click
import uvloop

from coatcheck.drill.upstream.call_log import CallLog
from coatcheck.drill.upstream.http_protocol import UpstreamProtocol


async def start_upstream(
    host: str = "127.0.0.1", port: int = 0, *, log: CallLog | None = None, api_key: str = ""
) -> tuple[asyncio.Server, int, CallLog]:
    """Listen in this event loop; returns the server, its port and its log. With `api_key`, others are refused."""
    calls = log or CallLog()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: UpstreamProtocol(calls, api_key), host, port, backlog=4096)
    return server, server.sockets[0].getsockname()[1], calls


async def serve(host: str, port: int, log_path: str | None, api_key: str) -> None:
    log = CallLog(Path(log_path) if log_path else None)
    server, bound, _ = await start_upstream(host, port, log=log, api_key=api_key)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    click.echo(bound)
    try:
        await stop.wait()
    finally:
        server.close()
        log.close()


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, show_default=True, help="Port to listen on; 0 picks one.")
@click.option("--log", "log_path", help="File to append a JSON line per call to.")
@click.option("--api-key", default="", help="Refuse calls with another key.")
def main(host: str, port: int, log_path: str | None, api_key: str) -> None:
    """Run the scripted upstream."""
    uvloop.run(serve(host, port, log_path, api_key))


if __name__ == "__main__":
    main()
