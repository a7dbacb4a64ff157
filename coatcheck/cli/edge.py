"""`coatcheck edge`."""

from __future__ import annotations

from typing import Any

import click

from coatcheck.cli.logs import start_logs
from coatcheck.cli.options import load, pass_on, setting
from shared.metrics_files import many_processes


@click.command()
@setting("host")
@setting("port")
@setting("admin_host")
@setting("admin_port")
@setting("edge_processes", "--processes")
def edge(**flags: Any) -> None:
    """Run an edge: it takes requests in over HTTP, stores them as jobs and hands results out.

    It goes on accepting while Kafka is down. SIGTERM or Ctrl-C: finishes the requests under way and exits.
    """
    settings = load(**flags)
    start_logs(settings, "edge")
    pass_on(**flags)
    many_processes()

    from coatcheck.cli.edge_master import run_edge  # noqa: PLC0415 - loads the metrics client

    run_edge(settings)
