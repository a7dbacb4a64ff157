"""Commands that end in every possible way."""

from __future__ import annotations

import click

from shared.domain.errors import CoatcheckError, SettingsError, StoreUnavailable

FAILURES: dict[str, BaseException] = {
    "settings": SettingsError("port is wrong: choose another"),
    "store": StoreUnavailable("reading: ServerSelectionTimeoutError"),
    "ours": CoatcheckError("cannot reach mongodb://user:hunter22@db/ with sk-bf-abcdefghijklmnop"),
    "defect": ZeroDivisionError("division by zero"),
    "interrupt": KeyboardInterrupt(),
}


@click.command()
@click.argument("how")
def ending(how: str) -> None:
    """End in the given way."""
    if how in FAILURES:
        raise FAILURES[how]
    if how != "well":
        click.get_current_context().exit(int(how))
    click.echo("done")
