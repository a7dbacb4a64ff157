"""`coatcheck config` and `version`: what is set and installed, and the tables for the documentation."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import click
import msgspec

from coatcheck import __version__, documentation_tables
from coatcheck.cli.options import as_json, load, providers_of
from coatcheck.cli.output import either, progress, result, table
from shared.providers.config import ProviderConfig
from shared.settings.table import FIELDS, redacted
from shared.telemetry.redaction import redact

_PAGE = click.Path(path_type=Path, exists=True, dir_okay=False)
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
    providers = {name: _shown(provider) for name, provider in providers_of(settings).items()}
    shown = redacted(settings) | defaults | {"providers": providers}
    rows = [(name, _text(value), "default" if name in defaults else "") for name, value in shown.items()]
    either(as_json, shown, table(("SETTING", "VALUE", ""), rows))


@config.command()
def check() -> None:
    """Check the settings, providers included, without connecting to anything."""
    names = ", ".join(sorted(providers_of(load(uses=("port", "providers")))))
    result("ok")
    progress(f"providers: {names or 'none: no job could be done; set OPENAI_API_KEY, for example'}")


@config.command()
@click.argument("which", type=click.Choice(list(documentation_tables.TABLES)), default="settings")
@click.option("--into", type=_PAGE, metavar="PAGE", help="Update this page.  [default: stdout]")
def docs(which: str, into: Path | None) -> None:
    """Write the table of settings or metrics as Markdown."""
    written = documentation_tables.TABLES[which]()
    if into is None:
        result(written)
    else:
        documentation_tables.update(into, written)
        progress(f"{into} is up to date")


@click.command()
@as_json
def version(as_json: bool) -> None:
    """Show the version."""
    python, system = platform.python_version(), platform.platform()
    installed = {"coatcheck": __version__, "python": python, "system": system}
    either(as_json, installed, f"coatcheck {__version__} (Python {python}, {system})")


def _shown(provider: ProviderConfig) -> dict[str, Any]:
    """What may be shown of a provider: not its key, headers or proxy."""
    values = msgspec.to_builtins(provider) | {"base_url": redact(provider.base_url)}
    return {name: values[name] for name in _SHOWN_OF_A_PROVIDER if values[name]} | {"key": bool(provider.api_key)}


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(sorted(value)) or "-"
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "-"
    return "-" if value == "" else str(value)
