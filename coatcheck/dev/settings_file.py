"""The settings of a running stack, left in its data directory for the commands that are typed beside it. They count
only while the stack holds the lock of the directory, so what a killed run leaves misleads nobody."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coatcheck.dev.parent_death_watch import is_alive
from coatcheck.dev.ports import LOOPBACK

DATA = Path(".coatcheck")
NAME = "coatcheck.toml"
_NOT_FOR_COMMANDS = frozenset({"admin_token", "log_format", "log_level", "providers"})


@dataclass(frozen=True, slots=True)
class RunningStack:
    file: Path
    url: str


def write(data: Path, environ: Mapping[str, str], port: int, admin_port: int) -> None:
    """Leave what the components are started with. For the owner's eyes: an address may hold a password."""
    from shared.settings.table import FIELDS, PREFIX  # noqa: PLC0415 - who only looks for the file needs no table

    values: dict[str, Any] = {}
    for name, field in FIELDS.items():
        value = environ.get(f"{PREFIX}{name.upper()}")
        if value is not None and name not in _NOT_FOR_COMMANDS:
            values[name] = [item for item in value.split(",") if item] if isinstance(field.default, tuple) else value
    values |= {"host": LOOPBACK, "port": port, "admin_host": LOOPBACK, "admin_port": admin_port}
    part = data / f"{NAME}.part"
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write("# Written by `coatcheck dev` for the commands beside it, removed when it stops.\n")
        file.writelines(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in values.items())
    part.replace(data / NAME)


def is_left_over(data: Path = DATA) -> bool:
    return (data / NAME).is_file() and _url_of_holder(data) is None


def find(data: Path = DATA) -> RunningStack | None:
    url = _url_of_holder(data)
    return RunningStack(data / NAME, url) if url and (data / NAME).is_file() else None


def _url_of_holder(data: Path) -> str | None:
    """Where the stack that holds the lock answers. The lock is tried only beside a process that lives: whoever tries it
    is for that moment in the way of one that starts."""
    try:
        holder = json.loads((data / "lock").read_text())
        pid, url = holder["pid"], str(holder["url"])
        if is_alive(pid):
            with (data / "lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return url
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None
