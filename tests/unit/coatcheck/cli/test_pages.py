"""Every `coatcheck` command that a page shows exists, with the options that it shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from coatcheck.cli.main import cli
from coatcheck.drill.scenarios.catalogue import SCENARIOS

ROOT = Path(__file__).parents[4]
PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "deploy/k8s/coatcheck/templates/NOTES.txt"})

_FENCE = re.compile(r"^ *```[a-z]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`]+)`")
_SHOWN = re.compile(r"(?:^|\$\()(?:[A-Z_]+=\S+ )*(?:\S*/)?coatcheck ((?:--?\w|[a-z]+\b)[^|>&;#)$\n]*)")


def shown(page: str) -> list[list[str]]:
    """The arguments of every command of a page: what a shell would hand to `coatcheck`."""
    joined = page.replace("\\\n", " ")
    pieces = [line for block in _FENCE.findall(joined) for line in block.splitlines()]
    pieces += [" ".join(piece.split()) for piece in _INLINE.findall(_FENCE.sub("", joined))]
    pieces += joined.splitlines() if "{{" in page else []
    found = []
    for piece in pieces:
        for arguments in _SHOWN.findall(piece.rpartition(" -- ")[2].strip().removeprefix("$ ")):
            found.append([word for word in shlex.split(arguments) if word != "..."])
    return found


def complaint(words: list[str]) -> str:
    """Why these arguments are none of ours; empty when they are."""
    command: click.Command = cli
    context = click.Context(cli, info_name="coatcheck")
    try:
        while isinstance(command, click.Group):
            _, words, _ = command.make_parser(context).parse_args(list(words))
            if not words:
                return ""
            found = command.get_command(context, words[0])
            if found is None:
                return f"{context.command_path} has no command {words[0]}"
            command, words = found, words[1:]
            context = click.Context(command, info_name=command.name, parent=context)
        values, left, _ = command.make_parser(context).parse_args(words)
    except click.UsageError as error:
        return error.format_message()
    scenario = values.get("scenario", "mixed")
    if scenario not in SCENARIOS and not scenario.isupper():
        return f"there is no scenario {scenario}"
    return f"{context.command_path} takes no {left[0]}" if left else ""


SHOWN = sorted({(page.relative_to(ROOT), tuple(words)) for page in PAGES for words in shown(page.read_text())})


@pytest.mark.parametrize(("page", "words"), SHOWN, ids=str)
def test_a_command_that_a_page_shows_exists(page: Path, words: tuple[str, ...]) -> None:
    assert complaint(list(words)) == ""


def test_the_pages_for_operators_show_commands() -> None:
    counts = {page.name: sum(1 for each, _ in SHOWN if each.name == page.name) for page in PAGES}
    for name in ("README.md", "operations.md", "kubernetes.md", "CoatcheckDatabaseFails.md", "NOTES.txt"):
        assert counts[name], name
    assert len(SHOWN) > 60


@pytest.mark.parametrize(
    "words",
    [
        ["keys", "make"],
        ["drill", "--often"],
        ["drill", "--only", "no-such-row"],
        ["dead", "list", "everything"],
        ["serve"],
        ["worker", "--slots"],
    ],
)
def test_a_command_that_does_not_exist_is_noticed(words: list[str]) -> None:
    assert complaint(words)
