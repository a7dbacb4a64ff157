"""The pages that restate code are held to it."""

from __future__ import annotations

import re
from pathlib import Path

from shared.job import Status
from shared.mongo import moves
from shared.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"
LIFECYCLE = (DOCS / "job-lifecycle.md").read_text()


def test_the_table_of_moves_names_every_move_and_no_other() -> None:
    rows = re.findall(r"^\| (\w+) \| (?:edge|worker|keeper) \|", LIFECYCLE, re.MULTILINE)
    constructors = {name for name in ("claim", "renew", "finish", "release", "expire") if hasattr(moves, name)}
    assert set(rows) == constructors | {"submit"}


def test_the_picture_shows_every_state_and_only_moves_of_the_table() -> None:
    arrows = re.findall(r"^ +(\S+) --> (\S+): (.+)$", LIFECYCLE, re.MULTILINE)
    assert {state for arrow in arrows for state in arrow[:2]} - {"[*]"} == {status.value for status in Status}
    assert not any(start in ("completed", "failed") and end != "[*]" for start, end, _ in arrows)


def test_the_budgets_on_the_page_are_the_defaults() -> None:
    settings = Settings()
    for word, default in (
        ("failure, per target", settings.max_failures),
        ("crash", settings.max_crashes),
        ("release", settings.max_releases),
    ):
        assert re.search(rf"\| {word} \| {default} \|", LIFECYCLE), word


def test_every_link_between_pages_leads_somewhere() -> None:
    for page in [*DOCS.rglob("*.md"), *DOCS.parent.glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
