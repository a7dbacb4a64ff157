"""How commands are found, how they end, and what is said when they fail."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from coatcheck.cli.main import ENTRIES, SECTIONS, Entry, cli, run

COMMANDS = [name for section in SECTIONS.values() for name in section]


@pytest.fixture(autouse=True)
def ending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENTRIES, "ending", Entry("tests.unit.coatcheck.cli.commands:ending", "End"))


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("well", 0, ""),
        ("0", 0, ""),
        ("1", 1, ""),
        ("3", 3, ""),
        ("settings", 2, "coatcheck: port is wrong: choose another\n"),
        ("store", 1, "coatcheck: reading: ServerSelectionTimeoutError\n"),
        ("interrupt", 130, "\ncoatcheck: stopped\n"),
    ],
)
def test_a_command_ends_with_a_code_and_at_most_one_line(
    how: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ending", how]) == code
    output = capsys.readouterr()
    assert output.err == said
    assert output.out == ("done\n" if how == "well" else "")


def test_an_error_never_shows_a_password_or_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ending", "ours"]) == 1
    said = capsys.readouterr().err
    assert "hunter22" not in said
    assert "abcdefghijklmnop" not in said
    assert "mongodb://user:<redacted>@db/" in said


def test_a_defect_shows_where_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ending", "defect"]) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert said.endswith("coatcheck: unexpected ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["wroker"], "Did you mean 'worker'?"),
        (["key"], "Did you mean 'keys'?"),
        (["keys", "creat", "x"], "Did you mean 'create'?"),
        (["worker", "--slot", "1"], "Did you mean '--slots'?"),
        (["worker", "--modality", "embedings"], "did you mean 'embeddings'?"),
        (["config", "docs", "everything"], "is not one of 'settings', 'metrics'"),
        (["edge", "--port", "many"], "'many' is not a valid integer"),
        (["job", "7"], "one looks like 019ac0de"),
        (["--log-level", "loud", "config", "check"], "log_level"),
        (["--config", "/nowhere.toml", "config", "check"], "cannot read the settings file /nowhere.toml"),
        (["keys", "create"], "Missing argument 'NAME'"),
        (["providers", "check", "nobody"], "provider 'nobody' is not configured"),
    ],
)
def test_a_wrong_word_is_answered_with_one_line_and_the_way_out(
    arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    said = capsys.readouterr().err
    assert hint in said
    assert said.startswith("coatcheck: ")
    assert said.count("\n") == 1


def test_a_misspelled_variable_is_answered_with_the_one_that_was_meant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COATCHECK_PROT", "1")
    assert run(["config", "check"]) == 2
    assert capsys.readouterr().err == "coatcheck: unknown setting COATCHECK_PROT: did you mean COATCHECK_PORT?\n"


def test_no_command_at_all_shows_the_overview_as_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert all(f"\n  {name} " in output.err for name in COMMANDS)


def leaves(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """A command, or everything below a group, with the words that call it."""
    if not isinstance(command, click.Group):
        yield path, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        yield from leaves(below, f"{path} {name}")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_exists_and_every_option_says_what_it_does_and_its_default(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    for path, leaf in leaves(command, name):
        assert leaf.help, path
        defaults = leaf.make_context(path, [], resilient_parsing=True).params
        for option in leaf.params:
            if isinstance(option, click.Option):
                assert option.help, f"{path} {option.opts}"
                shown = option.show_default or "[default: " in option.help
                assert shown or not defaults[option.name or ""], f"{path} {option.opts}"


def test_version_is_the_one_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    project = tomllib.loads((Path(__file__).parents[4] / "pyproject.toml").read_text())["project"]
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"coatcheck {project['version']}\n"
