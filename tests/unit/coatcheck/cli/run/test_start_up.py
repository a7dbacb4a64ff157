"""A command loads what it needs and nothing else: the overview is there at once, and processes stay small."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[5]
OVERVIEW_RATIO = 2.0
"""The overview may cost this many times what Python takes to load the command line library."""
DRIVERS = {"pymongo", "kafka", "falcon", "gunicorn", "uvicorn", "httpx", "aiohttp", "prometheus_client", "onnxruntime"}


def loaded(arguments: list[str]) -> set[str]:
    """The top-level modules that are loaded after a command ran."""
    code = f"import sys\nfrom coatcheck.cli.main import run\nrun({arguments!r})\nprint('', *sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT)
    return {name.partition(".")[0] for name in ran.stdout.splitlines()[-1].split()}


def cpu_seconds(*arguments: str) -> float:
    """CPU time of one run of Python. Not the time on the wall: other tests may run beside it."""
    before = os.times()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True, cwd=ROOT)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def test_the_overview_loads_no_driver_and_no_settings() -> None:
    assert not loaded(["--help"]) & (DRIVERS | {"msgspec", "uvloop", "asyncio"})


@pytest.mark.parametrize("arguments", [["worker", "--help"], ["edge", "--help"], ["reaper", "--help"], ["version"]])
def test_help_of_a_component_loads_no_driver(arguments: list[str]) -> None:
    assert not loaded(arguments) & DRIVERS


@pytest.mark.parametrize("arguments", [["config", "show"], ["config", "check"], ["config", "docs"]])
def test_looking_at_settings_loads_no_driver(arguments: list[str]) -> None:
    assert not loaded(arguments) & DRIVERS


def test_the_overview_is_there_at_once() -> None:
    pairs = [(cpu_seconds("-m", "coatcheck", "--help"), cpu_seconds("-c", "import click")) for _ in range(5)]
    assert min(ours for ours, _ in pairs) < OVERVIEW_RATIO * min(bare for _, bare in pairs)
