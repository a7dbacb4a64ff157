"""The versions that files of the checkout state. A release needs all of them to agree."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SOURCE = "coatcheck/__init__.py"
"""The file whose version counts; the others are compared with it."""
_CHART = "deploy/k8s/coatcheck/Chart.yaml"
_NUMBER = r"\d+\.\d+\.\d+"


class Disagreement(Exception):
    """Files state different versions, or none; one line each."""


@dataclass(frozen=True, slots=True)
class _Statement:
    """One place that states a version: the first group of `pattern`, which matches at the start of a line."""

    file: str
    pattern: str
    what: str


_STATEMENTS = (
    _Statement(SOURCE, r'__version__ = "(.+)"', "__version__"),
    _Statement("pyproject.toml", r'version = "(.+)"', "version"),
    _Statement("client/coatcheck_client/version.py", r'VERSION = "(.+)"', "VERSION"),
    _Statement(_CHART, r"version: (\S+)", "version"),
    _Statement(_CHART, r'appVersion: "(.+)"', "appVersion"),
    _Statement("deploy/compose/compose.yaml", r"  image: coatcheck:(\S+)", "the image"),
    _Statement("CHANGELOG.md", r"## (\S+)", "the top section"),
)
_UPGRADING = "UPGRADING.md"
FILES = (*dict.fromkeys(statement.file for statement in _STATEMENTS), _UPGRADING)


def agreed_version(root: Path) -> str:
    """The version that all files below `root` state. Raises Disagreement."""
    texts = {file: (root / file).read_text() for file in FILES}
    version = _stated(texts, _STATEMENTS[0])
    found = disagreements(texts)
    if found or version is None:
        raise Disagreement("\n".join(found))
    return version


def disagreements(texts: Mapping[str, str]) -> list[str]:
    """One line for each statement that is missing or differs; `texts` maps each of FILES to its content."""
    wanted = _stated(texts, _STATEMENTS[0])
    if wanted is None or not re.fullmatch(_NUMBER, wanted):
        return [f"{SOURCE}: __version__ is {wanted}, expected three numbers such as 1.2.3"]
    found = [_complaint(statement, _stated(texts, statement), wanted) for statement in _STATEMENTS[1:]]
    if f"## To {wanted}" not in texts[_UPGRADING].splitlines():
        found.append(f'{_UPGRADING}: there is no section "To {wanted}"')
    return [line for line in found if line is not None]


def _stated(texts: Mapping[str, str], statement: _Statement) -> str | None:
    match = re.search(f"^{statement.pattern}", texts[statement.file], re.MULTILINE)
    return match[1] if match else None


def _complaint(statement: _Statement, stated: str | None, wanted: str) -> str | None:
    if stated == wanted:
        return None
    return f"{statement.file}: {statement.what} is {stated or 'missing'}, {SOURCE} says {wanted}"
