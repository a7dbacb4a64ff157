"""`coatcheck version`."""

from __future__ import annotations

import platform

import click

from coatcheck import __version__
from coatcheck.cli.options import as_json
from coatcheck.cli.output import json_line, result


@click.command()
@as_json
def version(as_json: bool) -> None:
    """Show the version."""
    if as_json:
        json_line({"coatcheck": __version__, "python": platform.python_version(), "system": platform.platform()})
    else:
        result(f"coatcheck {__version__} (Python {platform.python_version()}, {platform.platform()})")
