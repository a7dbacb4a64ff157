"""`coatcheck providers`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

import click
import msgspec

from coatcheck.cli.logs import start_logs
from coatcheck.cli.options import as_json, load
from coatcheck.cli.output import json_line, result, table
from shared.errors import SettingsError
from shared.known_providers import did_you_mean
from shared.providers import ProviderConfig, configured
from shared.settings import Settings
from workers.providers.check import CheckResult
from workers.providers.check import check as check_one


@click.group()
def providers() -> None:
    """Check the configured providers."""


@providers.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@as_json
def check(names: tuple[str, ...], as_json: bool) -> None:
    """Make one cheap call to each configured provider, or to those named, and say what is wrong.

    Exits with 1 when one does not work.
    """
    settings = load()
    start_logs(settings, "cli")
    outcomes = check_all(chosen(settings, names))
    if as_json:
        json_line([msgspec.to_builtins(each) for each in outcomes])
    else:
        result(table(("PROVIDER", "", "MS", ""), [_row(each) for each in outcomes]))
    if not all(each.ok for each in outcomes):
        click.get_current_context().exit(1)


def chosen(settings: Settings, names: Sequence[str] = ()) -> list[ProviderConfig]:
    """The configured providers of these names, or all. Raises SettingsError for one that is not configured."""
    found = configured(settings.providers, os.environ, settings.local_models)
    for name in names:
        if name not in found:
            hint = did_you_mean(name, found).strip() or f"configured: {', '.join(sorted(found)) or 'none'}"
            raise SettingsError(f"provider '{name}' is not configured: {hint}")
    if not found:
        raise SettingsError("no provider is configured: set OPENAI_API_KEY, or COATCHECK_LOCAL_MODELS=minilm")
    return [config for name, config in sorted(found.items()) if not names or name in names]


def check_all(configs: Sequence[ProviderConfig]) -> list[CheckResult]:
    """Ask all of them at the same time."""

    async def ask() -> list[CheckResult]:
        return list(await asyncio.gather(*map(check_one, configs)))

    return asyncio.run(ask())


def _row(outcome: CheckResult) -> tuple[object, ...]:
    return outcome.name, "ok" if outcome.ok else "PROBLEM", outcome.milliseconds or None, outcome.message
