"""`coatcheck keys`: virtual keys are made, listed, revoked and given new secrets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar

import click
import msgspec

from coatcheck.cli.database import ask
from coatcheck.cli.filled import filled
from coatcheck.cli.options import When, WhenType, as_json, load, providers_of
from coatcheck.cli.output import either, json_line, moment, progress, result, table
from shared.domain.errors import CoatcheckError
from shared.domain.store_interface import VirtualKey
from shared.domain.virtual_keys import may_match, name_problem
from shared.mongo.connection.client import Database
from shared.mongo.keys import KeyStore
from shared.providers.known import did_you_mean
from shared.settings.table import Settings

Found = TypeVar("Found")

_MODELS = "Models the key may use, comma separated, such as openai/*,local/minilm.  [default: all]"


@click.group()
def keys() -> None:
    """Create, list, revoke and rotate virtual keys: what clients of the API identify themselves with."""


@keys.command()
@click.argument("name")
@click.option("--models", metavar="PATTERNS", help=_MODELS)
@click.option("--unchecked", is_flag=True, help="Take patterns of providers that are not configured here.")
@click.option("--expires", type=WhenType(), metavar="WHEN", help="Last moment, or span, such as 90d.  [default: never]")
@as_json
def create(name: str, models: str | None, unchecked: bool, expires: When | None, as_json: bool) -> None:
    """Create a key called NAME and write its secret to stdout. It is shown this once and stored hashed.

    No two keys that are not revoked have the same name. --models needs the settings of the edges, which name the
    providers.
    """
    if problem := name_problem(name):
        raise click.UsageError(problem)
    settings = load()
    allowed = [pattern.strip() for pattern in (models or "").split(",") if pattern.strip()]
    if models is not None and not allowed:
        raise click.UsageError("--models names no model; without it the key may use all")
    if not unchecked:
        _refuse_lost(allowed, settings)

    async def make(database: Database) -> tuple[VirtualKey, str]:
        return await KeyStore(database).create(name, allowed, _end(expires, database.now()))

    _show_secret(*ask(settings, make), as_json)


@keys.command("list")
@as_json
def list_keys(as_json: bool) -> None:
    """List all keys, revoked and expired ones too. A hint is the end of the secret."""
    found = ask(load(), lambda database: KeyStore(database).list())
    header = ("ID", "NAME", "HINT", "MODELS", "CREATED", "EXPIRES", "REVOKED")
    either(as_json, found, table(header, map(_row, found)))


@keys.command()
@click.argument("which", metavar="ID|NAME", callback=filled)
@as_json
def revoke(which: str, as_json: bool) -> None:
    """Revoke a key for ever. It stops working within 5 seconds."""
    key = _changed(which, KeyStore.revoke)
    either(as_json, key, f"revoked {key.id} '{key.name}'")


@keys.command()
@click.argument("which", metavar="ID|NAME", callback=filled)
@as_json
def rotate(which: str, as_json: bool) -> None:
    """Give a key a new secret. The old one stops working within 5 seconds; the key's jobs stay its own."""
    _show_secret(*_changed(which, KeyStore.rotate), as_json)


def _refuse_lost(patterns: Sequence[str], settings: Settings) -> None:
    """A pattern that no model can match would make a key that opens less than it seems to."""
    providers = providers_of(settings) if patterns else {}
    for pattern in patterns:
        if not may_match(pattern, providers):
            guess = did_you_mean(pattern.partition("/")[0], providers)
            raise click.UsageError(
                f"'{pattern}' matches no provider/model of a provider that is configured here: {guess}configured: "
                f"{', '.join(sorted(providers)) or 'none'}; --unchecked takes it all the same"
            )


def _end(expires: When | None, now: datetime) -> datetime | None:
    end = expires.after(now) if expires else None
    if end and end <= now:
        raise click.UsageError(f"--expires must lie in the future, it is {moment(now)} now")
    return end


def _row(key: VirtualKey) -> tuple[object, ...]:
    models = ", ".join(key.models) or "all"
    return key.id, key.name, f"...{key.hint}", models, key.created_at, key.expires_at, key.revoked_at


def _changed(which: str, change: Callable[[KeyStore, str], Awaitable[Found | None]]) -> Found:
    async def find_and_change(database: Database) -> Found | None:
        store = KeyStore(database)
        key_id = await store.named(which)
        return None if key_id is None else await change(store, key_id)

    found = ask(load(), find_and_change)
    if found is None:
        raise CoatcheckError(f"no usable key '{which}': `coatcheck keys list` shows them")
    return found


def _show_secret(key: VirtualKey, secret: str, as_json: bool) -> None:
    if as_json:
        json_line({**msgspec.to_builtins(key), "secret": secret})
        return
    progress(f"key {key.id} '{key.name}': the secret is shown this once, keep it now")
    result(secret)
