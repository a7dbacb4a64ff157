from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import click

from coatcheck.cli.options import load, pass_on
from coatcheck.dev.stack import DevOptions, run
from shared.domain.errors import SettingsError
from shared.providers.config import NO_PROVIDER, configured

_DEFAULT = DevOptions()
_PORT = click.IntRange(1, 65535)
_FOLDER = click.Path(path_type=Path)
_MODELS = "Local models beside embeddings and rerank: speech,transcription,ocr,chat; all; none.  [MODELS]"
_MONGODB = "Use this replica set.  [default: a mongod of its own; MONGODB_URI]"
_KAFKA = "Use these brokers.  [default: a broker of its own; KAFKA]"


@click.command()
@click.option("--data", type=_FOLDER, default=_DEFAULT.data, show_default=True, help="Where data and logs go.")
@click.option("--models", envvar="MODELS", default=_DEFAULT.models, metavar="NAMES", help=_MODELS)
@click.option("--mongodb-uri", envvar="MONGODB_URI", default=_DEFAULT.mongodb_uri, metavar="URI", help=_MONGODB)
@click.option("--kafka", envvar="KAFKA", default=_DEFAULT.kafka, metavar="HOST:PORT", help=_KAFKA)
@click.option("--port", type=_PORT, default=_DEFAULT.port, show_default=True, help="Port of the API.")
@click.option("--admin-port", type=_PORT, default=_DEFAULT.admin_port, show_default=True, help="Port for operators.")
def dev(**options: Any) -> None:
    """Run everything on this machine: database, broker, edge, worker and reaper, on loopback only.

    Ready once a real embedding went through. Ctrl-C stops all in order. For development: its API needs no key, its
    broker forgets, its database has one node.
    """
    if options["models"].strip() == "none" and not configured(load().providers, os.environ):
        raise SettingsError(f"{NO_PROVIDER}; without one no worker gets ready")
    pass_on()  # --config and the logs' options, to the components that this starts
    click.get_current_context().exit(asyncio.run(run(DevOptions(**options))))
