from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

import click

from coatcheck.cli.database import ask
from coatcheck.cli.filled import filled
from coatcheck.cli.options import as_json, load, providers_of, start_logs
from coatcheck.cli.output import either, progress, table
from shared.domain.errors import CoatcheckError, SettingsError
from shared.mongo.connection.client import Database
from shared.mongo.mongo_store import MongoStore
from shared.providers.config import NO_PROVIDER, ProviderConfig
from shared.providers.known import did_you_mean
from shared.settings.table import Settings
from workers.providers.connectivity_check import CheckResult
from workers.providers.connectivity_check import check as check_one

_LONGEST_PAUSE = 7 * 86_400
_channel = click.argument("channel", metavar="NAME[/MODEL]", callback=filled)


@click.group()
def providers() -> None:
    """Check the configured providers, pause them or end their pauses."""


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
        _refuse_unknown(name, found)
    if not found:
        raise SettingsError(NO_PROVIDER)
    return [config for name, config in sorted(found.items()) if not names or name in names]


@providers.command()
@_channel
@click.option(
    "--seconds",
    type=click.IntRange(1, _LONGEST_PAUSE),
    metavar="N",
    help="From now on.  [default: setting max_pause_seconds]",
)
@as_json
def pause(channel: str, seconds: int | None, as_json: bool) -> None:
    """Let no worker call provider NAME, or its model MODEL alone, for a while. Calls under way go on.

    In force at all workers within about a second. Jobs wait, none fails before its deadline. A longer pause that is in
    force stays: `coatcheck providers resume` ends it.
    """
    settings = load()
    _refuse_odd(channel, settings)

    async def put(database: Database) -> float:
        store = MongoStore(database, settings)
        await store.pause(channel, seconds or settings.max_pause_seconds)
        return next((each.seconds for each in await store.pauses() if each.channel == channel), 0.0)

    left = ask(settings, put)
    either(as_json, {"channel": channel, "seconds": round(left, 1)}, f"{channel} is paused for {left:.0f} s")


@providers.command()
@_channel
@as_json
def resume(channel: str, as_json: bool) -> None:
    """End the pauses of provider NAME and of all its models, or the pause of its model MODEL alone.

    All workers call again within about a second. Jobs that were put off come back when they were told to, at most
    max_pause_seconds and 5 seconds later. Exits with 1 when there was no such pause.
    """
    settings = load()
    _refuse_odd(channel, settings)

    async def end(database: Database) -> tuple[list[str], bool]:
        store = MongoStore(database, settings)
        paused = {each.channel for each in await store.pauses()}
        ended = sorted(each for each in paused if each == channel or each.startswith(f"{channel}/"))
        await store.resume(ended)
        return ended, channel.partition("/")[0] in paused - set(ended)

    ended, still = ask(settings, end)
    provider = channel.partition("/")[0]
    hint = f"{provider} as a whole is paused: `coatcheck providers resume {provider}` ends that"
    if not ended:
        raise CoatcheckError(f"{channel} is not paused" + (f" by itself, {hint}" if still else ""))
    either(as_json, {"resumed": ended}, "\n".join(f"{each} is not paused any more" for each in ended))
    if still:
        progress(hint)


def _refuse_odd(channel: str, settings: Settings) -> None:
    """Settings that name no provider, on an operator's machine for example, say nothing against any."""
    name, slash, model = channel.partition("/")
    if not name or (slash and not model):
        raise click.UsageError(f"'{channel}' is neither a provider nor PROVIDER/MODEL")
    if found := providers_of(settings):
        _refuse_unknown(name, found)


def _refuse_unknown(name: str, found: Collection[str]) -> None:
    if name not in found:
        hint = did_you_mean(name, found).strip() or f"configured: {', '.join(sorted(found)) or 'none'}"
        raise SettingsError(f"provider '{name}' is not configured: {hint}")


def check_all(configs: Sequence[ProviderConfig]) -> list[CheckResult]:

    async def ask() -> list[CheckResult]:
        return list(await asyncio.gather(*map(check_one, configs)))

    return asyncio.run(ask())
