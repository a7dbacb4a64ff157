"""Results on stdout, as text for people or JSON for programs; progress on stderr."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click
import msgspec


def result(text: str) -> None:
    click.echo(text)


def json_line(value: Any) -> None:
    click.echo(msgspec.json.encode(value).decode())


def either(as_json: bool, value: Any, text: str) -> None:
    """Write one result: `value` as a line of JSON, or `text`."""
    if as_json:
        json_line(value)
    else:
        result(text)


def progress(text: str) -> None:
    click.echo(text, err=True)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns that line up. None is an empty cell."""
    cells = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)


def moment(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return moment(value)
    return "" if value is None else str(value)
