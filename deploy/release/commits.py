"""Commits of the repository, and those of them that were released."""

from __future__ import annotations

import io
import subprocess
import tarfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

RELEASES = Path(__file__).parents[2] / "docs" / "releases.toml"


class CommitMissing(Exception):
    """Git does not know the commit, or there is no repository; the message is what git wrote."""


@dataclass(frozen=True, slots=True)
class Released:
    """A version and the commit it was made from."""

    version: str
    commit: str


def released(text: str) -> list[Released]:
    """The releases that a text in the format of docs/releases.toml lists, in its order."""
    return [Released(**entry) for entry in tomllib.loads(text).get("release", [])]


def export(repository: Path, commit: str, target: Path) -> None:
    """Write the files of `commit` into `target`, a new folder. Raises CommitMissing."""
    target.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(_git(repository, "archive", "--format=tar", commit))) as archive:
        archive.extractall(target, filter="data")


def commit_time(repository: Path, commit: str) -> int:
    """When `commit` was made, in seconds of Unix time. Raises CommitMissing."""
    return int(_git(repository, "show", "--no-patch", "--format=%ct", commit))


def changed_files(repository: Path) -> list[str]:
    """What differs from the last commit, one line each as `git status --short` writes it. Raises CommitMissing."""
    return _git(repository, "status", "--short").decode().splitlines()


def _git(repository: Path, *arguments: str) -> bytes:
    ran = subprocess.run(["git", "-C", repository, *arguments], capture_output=True, check=False)
    if ran.returncode != 0:
        raise CommitMissing(f"git {' '.join(arguments)}: {ran.stderr.decode(errors='replace').strip()}")
    return ran.stdout
