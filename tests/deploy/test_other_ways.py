"""What runs Coatcheck without Kubernetes: its commands exist and its settings are settings. Nothing is started."""

from __future__ import annotations

import configparser
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from coatcheck.cli.main import cli
from shared.settings.reading import load_settings

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
OURS = {name: one for name, one in COMPOSE["services"].items() if one.get("image", "").startswith("coatcheck:")}
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))


def exists(arguments: list[str]) -> None:
    ran = CliRunner().invoke(cli, [*arguments, "--help"])
    assert ran.exit_code == 0, ran.output


def unit(file: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(file)
    return parser


def test_every_component_is_there() -> None:
    assert set(OURS) == {"init", "edge", "worker", "reaper"}
    assert [file.stem for file in UNITS] == ["coatcheck-edge", "coatcheck-reaper", "coatcheck-worker"]


@pytest.mark.parametrize("name", OURS)
def test_a_service_runs_a_command_with_settings_that_exist(name: str) -> None:
    service = OURS[name]
    exists([str(argument) for argument in service["command"]])
    environ = {key: str(value) for key, value in service["environment"].items()}
    del environ["COATCHECK_CONFIG"]
    load_settings(environ=environ)
    assert service["read_only"] is True


@pytest.mark.parametrize("file", UNITS, ids=lambda file: file.stem)
def test_a_unit_runs_a_command_that_exists_and_gives_it_time_to_stop(file: Path) -> None:
    service = unit(file)["Service"]
    program, *arguments = shlex.split(service["ExecStart"])
    assert program.endswith("/coatcheck")
    exists(arguments)
    seconds = {"edge": load_settings(environ={}).shutdown_seconds, "worker": load_settings(environ={}).drain_seconds}
    assert int(service["TimeoutStopSec"]) > seconds.get(file.stem.removeprefix("coatcheck-"), 0) + 10


@pytest.mark.parametrize("file", [DEPLOY / "compose" / "compose.yaml", *UNITS], ids=lambda file: file.name)
def test_what_was_not_run_says_so(file: Path) -> None:
    assert "NOT TESTED" in file.read_text()
