"""`coatcheck config`: what is set, whether it makes sense, and the tables for the documentation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import msgspec

from coatcheck.cli import documents
from coatcheck.cli.options import as_json, load
from coatcheck.cli.output import json_line, progress, result, table
from shared.providers import ProviderConfig, configured
from shared.redaction import redact
from shared.settings import FIELDS, Settings, redacted

_SHOWN_OF_A_PROVIDER = ("kind", "base_url", "models", "max_concurrency", "timeout_seconds")


@click.group()
def config() -> None:
    """Show, check and document the settings."""


@config.command()
@as_json
def show(as_json: bool) -> None:
    """Show all settings as they are in force here, secrets redacted."""
    settings = load()
    defaults = {name: field.default for name, field in FIELDS.items() if getattr(settings, name) == field.default}
    shown = redacted(settings) | defaults | {"providers": _providers(settings)}
    if as_json:
        json_line(shown)
        return
    rows = [(name, _text(value), "default" if name in defaults else "") for name, value in shown.items()]
    result(table(("SETTING", "VALUE", ""), rows))


@config.command()
def check() -> None:
    """Check the settings, providers included, without connecting to anything."""
    names = configured(*_sources(load()))
    result("ok")
    progress(f"providers: {', '.join(sorted(names)) or 'none: no job could be done; set OPENAI_API_KEY, for example'}")


@config.command()
@click.argument("which", type=click.Choice(list(documents.TABLES)), default="settings")
@click.option(
    "--into",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="PAGE",
    help="Update this page.  [default: stdout]",
)
def docs(which: str, into: Path | None) -> None:
    """Write the table of settings or metrics as Markdown."""
    written = documents.TABLES[which]()
    if into is None:
        result(written)
    else:
        documents.update(into, written)
        progress(f"{into} is up to date")


def _sources(settings: Settings) -> tuple[Any, ...]:
    return settings.providers, os.environ, settings.local_models


def _providers(settings: Settings) -> dict[str, dict[str, Any]]:
    return {name: _provider(provider) for name, provider in configured(*_sources(settings)).items()}


def _provider(provider: ProviderConfig) -> dict[str, Any]:
    """What may be shown of a provider: not its key, headers or proxy."""
    values = msgspec.to_builtins(provider) | {"base_url": redact(provider.base_url)}
    return {name: values[name] for name in _SHOWN_OF_A_PROVIDER if values[name]} | {"key": bool(provider.api_key)}


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(sorted(value)) or "-"
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "-"
    return "-" if value == "" else str(value)
