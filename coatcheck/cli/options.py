"""What commands share: options that are settings, times as people type them, the settings in force, the logs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import click

from coatcheck.cli.beside import settings_of_stack
from coatcheck.cli.filled import filled
from shared.domain.ids import parse_job_id
from shared.providers.config import ProviderConfig, configured
from shared.settings.reading import load_settings
from shared.settings.table import FIELDS, PREFIX, Settings, Use, describe, is_secret
from shared.telemetry.logging import configure
from shared.telemetry.redaction import hide

Command = TypeVar("Command", bound=Callable[..., Any])

_TYPES: dict[type, click.ParamType[Any]] = {int: click.INT, float: click.FLOAT}
_GENERAL = ("log_level", "log_format")
_SPAN = re.compile(r"(\d{1,9})([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}

as_json = click.option("--json", "as_json", is_flag=True, help="Write JSON.  [default: text]")


def setting(name: str, flag: str | None = None) -> Callable[[Command], Command]:
    """An option that sets one setting, with help and default from the table of settings."""
    default = FIELDS[name].default
    text = f"{describe(name)}  [default: {'...' if is_secret(name) else default}; {PREFIX}{name.upper()}]"
    kind = _TYPES.get(type(default), click.STRING)
    return click.option(flag or f"--{name.replace('_', '-')}", name, type=kind, help=text, callback=filled)


def load(*, uses: Sequence[Use] = (), beside: bool = True, **flags: Any) -> Settings:
    """The settings of the running command, its own flags first. A component joins no stack that runs `beside` it."""
    general = click.get_current_context().find_root().params
    given = {name: general.get(name) for name in _GENERAL}
    config = general.get("config")
    stand_in = settings_of_stack(config) if beside else None
    return load_settings(given | flags, toml_path=config, uses=uses, stand_in=stand_in)


def pass_on(**flags: Any) -> None:
    """Put what was given by flag into the environment, for processes that read their settings themselves."""
    general = click.get_current_context().find_root().params
    given = {name: general.get(name) for name in ("config", *_GENERAL)} | flags
    os.environ.update({f"{PREFIX}{name.upper()}": str(value) for name, value in given.items() if value is not None})


def start_logs(settings: Settings, component: str) -> None:
    """Configure logs and hide every provider's credentials. Raises SettingsError when a provider is misconfigured."""
    configure(settings, component=component)
    for provider in providers_of(settings).values():
        hide([provider.api_key, provider.proxy, *provider.headers.values()])


def providers_of(settings: Settings) -> dict[str, ProviderConfig]:
    """The providers that are configured here. Raises SettingsError, see `configured`."""
    return configured(settings.providers, os.environ, settings.local_models)


@dataclass(frozen=True, slots=True)
class When:
    """A moment, or a span to one from a moment that is not known yet: now by the database's clock."""

    moment: datetime | None = None
    span: timedelta = timedelta(0)

    def after(self, now: datetime) -> datetime:
        return self.moment or now + self.span

    def before(self, now: datetime) -> datetime:
        return self.moment or now - self.span


class WhenType(click.ParamType[When]):
    """A span such as `36h`, or a date such as `2027-01-31`, which is UTC unless it says more."""

    name = "when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> When:
        try:
            return value if isinstance(value, When) else parsed(value)
        except (ValueError, OverflowError):
            shown = f"'{value[:100]}' is neither a span such as 90m, 36h or 7d nor a date such as 2027-01-31"
            self.fail(shown, param, ctx)


def parsed(text: str) -> When:
    """Read a span or a date. Raises ValueError for anything else."""
    if found := _SPAN.fullmatch(text):
        days, seconds = divmod(int(found[1]) * _SECONDS[found[2]], 86_400)
        if days > 36_500:
            raise ValueError("longer than a hundred years")
        return When(span=timedelta(days, seconds))
    moment = datetime.fromisoformat(text)
    return When(moment=moment if moment.tzinfo else moment.replace(tzinfo=UTC))


class JobId(click.ParamType[UUID]):
    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> UUID:
        parsed = value if isinstance(value, UUID) else parse_job_id(value)
        if parsed is None:
            self.fail(f"'{value[:100]}' is no job id: one looks like 019ac0de-0000-7000-8000-000000000000", param, ctx)
        return parsed
