"""An option whose value is empty, as of a shell variable that is not set, is refused: it never means all or another."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from coatcheck.cli.main import USAGE, cli, run

MAY_BE_EMPTY = {
    "dev --data": "the folder where it is typed, as for other programs",
    "dev --models": "the default ones, as in `make run MODELS=`",
    "dev --mongodb-uri": "a database of its own, as in `make run MONGODB_URI=`",
    "dev --kafka": "a broker of its own, as in `make run KAFKA=`",
    "drill --keep": "a temporary place",
}
REFUSED_LATER = {
    "--log-level": ["config", "check"],
    "--log-format": ["config", "check"],
    "worker --modality": [],
    "get --type": ["019ac0de-0000-7000-8000-000000000000"],
    "keys create --models": ["ci"],
    "drill --only": [],
    "submit --file": ["embeddings", "{}"],
}
"""With what else must be given to come to the refusal, which has words of its own."""


def options() -> Iterator[tuple[str, click.Command, click.Option]]:
    """Every option of every command that takes a text."""
    commands: list[tuple[list[str], click.Command]] = [([], cli)]
    while commands:
        path, command = commands.pop()
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                below = command.get_command(context, name)
                assert below is not None
                commands.append(([*path, name], below))
        for option in command.params:
            if isinstance(option, click.Option) and not option.is_flag:
                yield " ".join([*path, option.opts[-1]]), command, option


OPTIONS = {name: (command, option) for name, command, option in options()}


@pytest.mark.parametrize("name", sorted(set(OPTIONS) - set(MAY_BE_EMPTY) - set(REFUSED_LATER)))
def test_an_empty_value_is_refused(name: str) -> None:
    command, option = OPTIONS[name]
    with pytest.raises(click.BadParameter):
        option.process_value(click.Context(command), ("",) if option.multiple else "")


@pytest.mark.parametrize("name", REFUSED_LATER)
def test_an_empty_value_that_is_taken_is_refused_by_the_command(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COATCHECK_URL", "http://127.0.0.1:1")
    *path, option = name.split()
    assert run([*path, option, "", *REFUSED_LATER[name]]) == USAGE
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("empty", "arguments"),
    [
        ("--provider", ["dead", "requeue", "--provider", "", "--yes"]),
        ("--provider", ["dead", "requeue", "--provider", "", "--status-code", "503"]),
        ("--model", ["dead", "requeue", "--status-code", "503", "--model="]),
        ("--config", ["--config", "", "dead", "list"]),
        ("--url", ["submit", "embeddings", "{}", "--url", ""]),
        ("ID|NAME", ["keys", "revoke", ""]),
        ("ID|NAME", ["keys", "rotate", ""]),
    ],
)
def test_the_error_says_what_is_empty_and_what_to_do(
    empty: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == USAGE
    said = capsys.readouterr().err
    assert empty in said
    assert "it is empty: is a variable not set? Give it a value or leave it out" in said
