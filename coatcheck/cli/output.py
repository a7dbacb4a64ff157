"""Results on stdout, as text for people or JSON for programs; progress on stderr."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click
import msgspec


def result(text: str) -> None:
    """Write one result."""
    click.echo(text)


def json_line(value: Any) -> None:
    """Write one result as one line of JSON."""
    click.echo(msgspec.json.encode(value).decode())


def progress(text: str) -> None:
    """Say what happens meanwhile."""
    click.echo(text, err=True)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns that line up. None is an empty cell."""
    cells = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def moment(value: datetime) -> str:
    """A moment in UTC, to the second."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return moment(value)
    return "" if value is None else str(value)
