"""What `coatcheck dev` hands to the components that it starts."""

from __future__ import annotations

import os

import pytest

from coatcheck.cli.main import run
from coatcheck.cli.run import dev as dev_module
from coatcheck.dev.stack import DevOptions


def test_general_options_reach_the_components(monkeypatch: pytest.MonkeyPatch) -> None:
    passed: dict[str, str | None] = {}

    async def stack(options: DevOptions) -> int:
        for name in ("CONFIG", "LOG_LEVEL", "LOG_FORMAT"):
            passed[name] = os.environ.get(f"COATCHECK_{name}")
        return 0

    for name in ("CONFIG", "LOG_LEVEL", "LOG_FORMAT"):
        monkeypatch.setenv(f"COATCHECK_{name}", "of the caller")
    monkeypatch.setattr(dev_module, "run", stack)
    assert run(["--config", "mine.toml", "--log-level", "debug", "dev"]) == 0
    assert passed == {"CONFIG": "mine.toml", "LOG_LEVEL": "debug", "LOG_FORMAT": "of the caller"}
