"""Options that are settings, and the settings as a command sees them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from shared.settings import FIELDS, PREFIX, Settings, describe, is_secret, load_settings

Command = TypeVar("Command", bound=Callable[..., Any])

_TYPES: dict[type, click.ParamType[Any]] = {int: click.INT, float: click.FLOAT}
_GENERAL = ("log_level", "log_format")

as_json = click.option("--json", "as_json", is_flag=True, help="Write JSON.  [default: text]")


def setting(name: str, flag: str | None = None) -> Callable[[Command], Command]:
    """An option that sets one setting, with its help and default from the one table of settings."""
    default = FIELDS[name].default
    shown = "..." if is_secret(name) else default
    return click.option(
        flag or f"--{name.replace('_', '-')}",
        name,
        type=_TYPES.get(type(default), click.STRING),
        help=f"{describe(name)}  [default: {shown}; {PREFIX}{name.upper()}]",
    )


def load(**flags: Any) -> Settings:
    """The settings of the running command: its own flags, the general ones, environment, file, defaults."""
    general = click.get_current_context().find_root().params
    given = {name: general.get(name) for name in _GENERAL}
    return load_settings(given | flags, toml_path=general.get("config"))


def pass_on(**flags: Any) -> None:
    """Put what was given by flag into the environment, for processes that read their settings themselves."""
    general = click.get_current_context().find_root().params
    given = {name: general.get(name) for name in ("config", *_GENERAL)} | flags
    os.environ.update({f"{PREFIX}{name.upper()}": str(value) for name, value in given.items() if value is not None})
