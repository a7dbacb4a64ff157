"""Options that must not be empty: an empty one is a shell variable that is not set, and would mean all or another."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import click

Value = TypeVar("Value")


def filled(context: click.Context, parameter: click.Parameter, value: Value) -> Value:
    """A callback of options and arguments that refuses an empty text or path."""
    if value in ("", Path()):
        raise click.BadParameter(
            "it is empty: is a variable not set? Give it a value or leave it out", context, parameter
        )
    return value
