"""Which stack of `coatcheck dev` a command is typed beside, and a line on stderr that says so."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from coatcheck.cli.output import progress
from coatcheck.dev import settings_file

_ELSEWHERE = ("COATCHECK_MONGODB_URI", "COATCHECK_MONGODB_URI_FILE", "COATCHECK_KAFKA_BOOTSTRAP_SERVERS")
"""Whoever sets one of these means an installation of his own, and half of another one would be none."""
_USUAL_URL = "http://127.0.0.1:8080"


def settings_of_stack(config: str | None) -> Path | None:
    """The settings file of the stack that runs in this directory, for a command that was told of no other."""
    if any(os.environ.get(name) for name in _ELSEWHERE) or _names_servers(config or os.environ.get("COATCHECK_CONFIG")):
        return None
    stack = settings_file.find()
    if stack is not None:
        told = f"coatcheck: with the settings of the stack that runs here, {stack.file}; "
        progress(told + "--config or COATCHECK_MONGODB_URI mean another")
        return stack.file
    if settings_file.is_left_over():
        progress(f"coatcheck: {settings_file.DATA / settings_file.NAME} is of a stack that runs no more: not used")
    return None


def _names_servers(config: str | None) -> bool:
    """Whether a settings file that was asked for names a database or broker. Loading it reports its errors."""
    if not config:
        return False
    try:
        return not {"mongodb_uri", "kafka_bootstrap_servers"}.isdisjoint(tomllib.loads(Path(config).read_text("utf-8")))
    except (OSError, ValueError):
        return True


def url_of_stack() -> str | None:
    """Where the stack that runs in this directory answers, unless the environment says where to ask."""
    stack = None if os.environ.get("COATCHECK_URL") else settings_file.find()
    if stack is None or stack.url == _USUAL_URL:
        return None
    progress(f"coatcheck: asking the stack that runs here, {stack.url}; --url or COATCHECK_URL mean another")
    return stack.url
