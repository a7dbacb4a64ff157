"""The pages that restate code are held to it."""

from __future__ import annotations

import re
from pathlib import Path

from shared.domain.job import Status
from shared.mongo.documents import transitions
from shared.settings.table import Settings

DOCS = Path(__file__).parents[3] / "docs"
LIFECYCLE = (DOCS / "job-lifecycle.md").read_text()


def test_the_table_of_moves_names_every_move_and_no_other() -> None:
    rows = re.findall(r"^\| (\w+) \| (?:edge|worker|reaper) \|", LIFECYCLE, re.MULTILINE)
    constructors = {name for name in ("claim", "renew", "finish", "release", "expire") if hasattr(transitions, name)}
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


def test_every_file_that_a_page_for_developers_names_exists() -> None:
    root = DOCS.parent
    for page in (
        root / "CONTRIBUTING.md",
        DOCS / "architecture.md",
        DOCS / "job-lifecycle.md",
        *DOCS.glob("decisions/*"),
    ):
        lines = [
            line for line in page.read_text().splitlines() if "(new)" not in line and "workers/webhooks/" not in line
        ]
        named = re.findall(
            r"`((?:edge|workers|shared|coatcheck|client|tests|docs|deploy)/[\w/.*-]+)`", "\n".join(lines)
        )
        missing = [name for name in named if not list(root.glob(name.rstrip("/")))]
        assert not missing, f"{page.name} names {missing}"
