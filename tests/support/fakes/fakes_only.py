"""A pytest plugin for `make check`, `-p tests.support.fakes.fakes_only`: of the contract tests, runs those on fakes."""

from __future__ import annotations

import pytest

REAL_PARAMETERS = {"mongo", "kafka"}
"""What a contract test's fixture is parametrized with when it stands for the real thing."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what would start a server."""
    real = [item for item in items if _is_real(item)]
    config.hook.pytest_deselected(items=real)
    items[:] = [item for item in items if item not in set(real)]


def _is_real(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    return callspec is not None and not REAL_PARAMETERS.isdisjoint(callspec.id.split("-"))
