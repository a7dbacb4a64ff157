"""The rendered chart that the tests of its templates look at."""

from __future__ import annotations

import pytest

from tests.support.helm import Rendered, render


@pytest.fixture(scope="session")
def plain() -> Rendered:
    """The chart with nothing but what is required."""
    return render()
