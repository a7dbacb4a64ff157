"""`coatcheck dev`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from coatcheck.cli.options import pass_on
from coatcheck.dev.options import DevOptions
from coatcheck.dev.stack import run

_DEFAULT = DevOptions()
_PORT = click.IntRange(1, 65535)


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path), default=_DEFAULT.data, show_default=True, help="Where data and logs go."
)
@click.option(
    "--models",
    envvar="MODELS",
    default=_DEFAULT.models,
    metavar="NAMES",
    help="Local models beside embeddings and rerank: speech,transcription,ocr,chat; all; none.  [MODELS]",
)
@click.option(
    "--mongodb-uri",
    envvar="MONGODB_URI",
    default=_DEFAULT.mongodb_uri,
    metavar="URI",
    help="Use this replica set.  [default: a mongod of its own; MONGODB_URI]",
)
@click.option(
    "--kafka",
    envvar="KAFKA",
    default=_DEFAULT.kafka,
    metavar="HOST:PORT",
    help="Use these brokers.  [default: a broker of its own; KAFKA]",
)
@click.option("--port", type=_PORT, default=_DEFAULT.port, show_default=True, help="Port of the API.")
@click.option("--admin-port", type=_PORT, default=_DEFAULT.admin_port, show_default=True, help="Port for operators.")
def dev(**options: Any) -> None:
    """Run everything on this machine: database, broker, edge, worker and keeper, on loopback only.

    Ready once a real embedding went through. Ctrl-C stops all in order. For development: its API needs no key, its
    broker forgets, its database has one node.
    """
    pass_on()  # --config and the logs' options, to the components that this starts
    click.get_current_context().exit(asyncio.run(run(DevOptions(**options))))
