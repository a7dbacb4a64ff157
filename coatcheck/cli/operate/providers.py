from __future__ import annotations

import asyncio
from collections.abc import Sequence

import click

from coatcheck.cli.options import as_json, load, providers_of, start_logs
from coatcheck.cli.output import either, table
from shared.domain.errors import SettingsError
from shared.providers.config import NO_PROVIDER, ProviderConfig
from shared.providers.known import did_you_mean
from shared.settings.table import Settings
from workers.providers.connectivity_check import CheckResult
from workers.providers.connectivity_check import check as check_one


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
    rows = [(each.name, "ok" if each.ok else "PROBLEM", each.milliseconds or None, each.message) for each in outcomes]
    either(as_json, outcomes, table(("PROVIDER", "", "MS", ""), rows))
    if not all(each.ok for each in outcomes):
        click.get_current_context().exit(1)


def chosen(settings: Settings, names: Sequence[str] = ()) -> list[ProviderConfig]:
    """The configured providers of these names, or all. Raises SettingsError for one that is not configured."""
    found = providers_of(settings)
    for name in names:
        if name not in found:
            hint = did_you_mean(name, found).strip() or f"configured: {', '.join(sorted(found)) or 'none'}"
            raise SettingsError(f"provider '{name}' is not configured: {hint}")
    if not found:
        raise SettingsError(NO_PROVIDER)
    return [config for name, config in sorted(found.items()) if not names or name in names]


def check_all(configs: Sequence[ProviderConfig]) -> list[CheckResult]:

    async def ask() -> list[CheckResult]:
        return list(await asyncio.gather(*map(check_one, configs)))

    return asyncio.run(ask())
