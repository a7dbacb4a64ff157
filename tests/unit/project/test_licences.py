"""What is shipped may be shipped: the licence of every package of the run-time lock file is one of a known few."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

LOCK = Path(__file__).parents[3] / "requirements" / "run.txt"
LOCKED = re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+)", LOCK.read_text(), re.MULTILINE)
ALLOWED = re.compile(
    r"(?i)apache|\bmit\b|bsd|redistribution and use in source and binary forms|isc|psf|python software|mpl-2"
    r"|mozilla public license 2|zlib|unlicense|cc0"
)
FORBIDDEN = re.compile(r"(?i)\bagpl|\bgpl|affero|sspl|busl|business source|commons clause|non-?commercial")


def licence(name: str) -> str:
    """All that the installed package says about its licence, shortened to its first lines."""
    about: Any = metadata.metadata(name)  # a message of the email package, which its declared type hides
    classified = [line for line in about.get_all("Classifier") or [] if line.startswith("License")]
    said = [about.get("License-Expression") or "", (about.get("License") or "")[:200], *classified]
    return " | ".join(line for line in said if line)


INSTALLED = {each.metadata["Name"].lower().replace("_", "-").replace(".", "-") for each in metadata.distributions()}


@pytest.mark.parametrize("name", [name for name, _ in LOCKED if name.replace(".", "-").replace("_", "-") in INSTALLED])
def test_a_shipped_package_has_a_licence_that_allows_it(name: str) -> None:
    found = licence(name)
    assert ALLOWED.search(found), f"{name}: {found or 'no licence is named'}"
    assert not FORBIDDEN.search(found), f"{name}: {found}"


def test_nearly_all_of_the_lock_is_looked_at() -> None:
    """The rest is for other systems and Python versions."""
    assert sum(name.replace(".", "-").replace("_", "-") in INSTALLED for name, _ in LOCKED) >= 0.8 * len(LOCKED) > 10
