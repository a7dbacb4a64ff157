"""What a release needs of the checkout: one version in every file that states one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploy.release.commits import RELEASES, Released, released
from deploy.release.context import admitted
from deploy.release.versions import FILES, SOURCE, agreed_version, disagreements

ROOT = Path(__file__).parents[3]
TEXTS = {file: (ROOT / file).read_text() for file in FILES}
VERSION = agreed_version(ROOT)


def test_every_file_that_states_a_version_states_the_same_one() -> None:
    assert disagreements(TEXTS) == []
    assert len(FILES) == 7


@pytest.mark.parametrize(
    ("file", "line", "changed", "message"),
    [
        ("pyproject.toml", 'version = "{}"', 'version = "9.9.9"', "version is 9.9.9"),
        ("client/coatcheck_client/version.py", 'VERSION = "{}"', 'VERSION = "9.9.9"', "VERSION is 9.9.9"),
        ("deploy/k8s/coatcheck/Chart.yaml", "version: {}", "version: 9.9.9", "version is 9.9.9"),
        ("deploy/k8s/coatcheck/Chart.yaml", 'appVersion: "{}"', "", "appVersion is missing"),
        ("deploy/compose/compose.yaml", "coatcheck:{}", "coatcheck:9.9.9", "the image is 9.9.9"),
        ("CHANGELOG.md", "## {}", "## Unreleased\n- A line.\n\n## {}", "the top section is Unreleased"),
        ("UPGRADING.md", "## To {}", "## To 9.9.9", 'there is no section "To {}"'),
    ],
)
def test_a_file_that_disagrees_is_named_with_what_it_says(file: str, line: str, changed: str, message: str) -> None:
    text = TEXTS[file].replace(line.format(VERSION), changed.format(VERSION), 1)
    (found,) = disagreements({**TEXTS, file: text})
    assert found.startswith(f"{file}: {message.format(VERSION)}")


def test_all_disagreements_are_told_at_once() -> None:
    raised = {**TEXTS, SOURCE: TEXTS[SOURCE].replace(VERSION, "9.9.9")}
    assert len(disagreements(raised)) == 7


def test_a_version_is_three_numbers() -> None:
    (found,) = disagreements({**TEXTS, SOURCE: '__version__ = "1.0rc1"\n'})
    assert found == f"{SOURCE}: __version__ is 1.0rc1, expected three numbers such as 1.2.3"


def test_every_listed_release_has_a_version_and_a_whole_commit_id() -> None:
    for release in released(RELEASES.read_text()):
        assert re.fullmatch(r"\d+\.\d+\.\d+", release.version)
        assert re.fullmatch(r"[0-9a-f]{40}", release.commit)


def test_the_example_in_the_list_of_releases_is_an_entry_once_it_is_no_comment() -> None:
    example = "\n".join(line.removeprefix("# ") for line in RELEASES.read_text().splitlines()[-3:])
    assert released(example) == [Released("0.2.0", "0123456789abcdef0123456789abcdef01234567")]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("Dockerfile", True),
        ("pyproject.toml", True),
        ("edge/api/poll.py", True),
        ("deploy/image/build.txt", True),
        ("requirements/models-ocr.txt", True),
        ("requirements/run.txt", False),
        ("deploy/k8s/coatcheck/Chart.yaml", False),
        ("client/tests/test_window.py", False),
        ("edge/api/__pycache__/poll.pyc", False),
        ("tests/conftest.py", False),
    ],
)
def test_the_image_context_is_what_dockerignore_admits(path: str, expected: bool) -> None:
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert admitted(path, patterns) is expected
