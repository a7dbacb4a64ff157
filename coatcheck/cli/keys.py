"""`coatcheck keys`: virtual keys are made, listed, revoked and given new secrets."""

from __future__ import annotations

from typing import TypeVar

import click
import msgspec

from coatcheck.cli.database import ask
from coatcheck.cli.options import as_json, load
from coatcheck.cli.output import json_line, progress, result, table
from shared.errors import CoatcheckError
from shared.mongo.keys import KeyStore
from shared.store import VirtualKey

Found = TypeVar("Found")


@click.group()
def keys() -> None:
    """Create, list, revoke and rotate virtual keys: what clients of the API identify themselves with."""


@keys.command()
@click.argument("name")
@click.option(
    "--models",
    default="",
    metavar="PATTERNS",
    help="Models the key may use, comma separated, such as openai/*,local/minilm.  [default: all]",
)
@as_json
def create(name: str, models: str, as_json: bool) -> None:
    """Create a key called NAME and write its secret to stdout. It is shown this once and stored hashed."""
    allowed = [pattern.strip() for pattern in models.split(",") if pattern.strip()]
    key, secret = ask(load(), lambda database: KeyStore(database).create(name, allowed))
    _show_secret(key, secret, as_json)


@keys.command("list")
@as_json
def list_keys(as_json: bool) -> None:
    """List all keys, revoked ones too. A hint is the end of the secret."""
    found = ask(load(), lambda database: KeyStore(database).list())
    if as_json:
        json_line([msgspec.to_builtins(key) for key in found])
        return
    header = ("ID", "NAME", "HINT", "MODELS", "CREATED", "REVOKED")
    rows = [(k.id, k.name, f"...{k.hint}", ", ".join(k.models) or "all", k.created_at, k.revoked_at) for k in found]
    result(table(header, rows))


@keys.command()
@click.argument("key_id", metavar="ID")
@as_json
def revoke(key_id: str, as_json: bool) -> None:
    """Revoke a key for ever. It stops working within 5 seconds."""
    key = _existing(ask(load(), lambda database: KeyStore(database).revoke(key_id)), key_id)
    if as_json:
        json_line(msgspec.to_builtins(key))
    else:
        result(f"revoked {key.id} '{key.name}'")


@keys.command()
@click.argument("key_id", metavar="ID")
@as_json
def rotate(key_id: str, as_json: bool) -> None:
    """Give a key a new secret. The old one stops working within 5 seconds; the key's jobs stay its own."""
    key, secret = _existing(ask(load(), lambda database: KeyStore(database).rotate(key_id)), key_id)
    _show_secret(key, secret, as_json)


def _show_secret(key: VirtualKey, secret: str, as_json: bool) -> None:
    if as_json:
        json_line({**msgspec.to_builtins(key), "secret": secret})
        return
    progress(f"key {key.id} '{key.name}': the secret is shown this once, keep it now")
    result(secret)


def _existing(found: Found | None, key_id: str) -> Found:
    if found is None:
        raise CoatcheckError(f"no usable key '{key_id}': `coatcheck keys list` shows them")
    return found
