"""The tables of settings and metrics in the documentation, written from the code, so that they cannot be wrong."""

from __future__ import annotations

from pathlib import Path

from shared.domain.errors import CoatcheckError
from shared.settings.table import FIELDS, MIB, PREFIX, describe, is_secret

BEGIN = "<!-- generated: begin -->"
END = "<!-- generated: end -->"


def settings_table() -> str:
    rows = [f"| `{PREFIX}{name.upper()}` | {_default(name)} | {_meaning(name)} |" for name in FIELDS]
    return "\n".join(["| Variable | Default | Meaning |", "|---|---|---|", *rows])


def metrics_table() -> str:
    from shared.telemetry.metrics import DECLARED  # noqa: PLC0415 - the settings table needs no metrics client

    rows = [
        f"| `{metric.name}` | {metric.kind} | {', '.join(f'`{label}`' for label in metric.labels)} | {metric.meaning} |"
        for metric in DECLARED
    ]
    return "\n".join(["| Name | Type | Labels | What it tells |", "|---|---|---|---|", *rows])


TABLES = {"settings": settings_table, "metrics": metrics_table}


def with_table(page: str, table: str) -> str:
    """The page with its generated part replaced."""
    before, found, rest = page.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (found and ended):
        raise CoatcheckError(f"the page has no part between '{BEGIN}' and '{END}'")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def update(path: Path, table: str) -> None:
    path.write_text(with_table(path.read_text(), table))


def _default(name: str) -> str:
    default = FIELDS[name].default
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, int) and default >= MIB and default % MIB == 0:
        return f"`{default}` ({default // MIB} MiB)"
    if isinstance(default, float):
        return f"`{default:g}`"
    return f"`{default}`" if isinstance(default, str | int) and default != "" else "empty"


def _meaning(name: str) -> str:
    secret = f" Secret: `{PREFIX}{name.upper()}_FILE` names a file that holds it." if is_secret(name) else ""
    return describe(name).replace("|", "\\|").replace("<", "&lt;") + ("" if name == "providers" else secret)
