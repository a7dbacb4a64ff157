"""The image's build context as a tar: the files of a commit that .dockerignore admits, with the Dockerfile."""

from __future__ import annotations

import gzip
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path

_ALWAYS = ("Dockerfile", ".dockerignore")
"""Docker needs both from the context, whatever the patterns say."""


def admitted(path: str, patterns: Sequence[str]) -> bool:
    """Whether Docker takes `path` (with slashes, relative) into the context: the last pattern that matches decides."""
    if path in _ALWAYS:
        return True
    parts = path.split("/")
    parents = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    taken = True
    for pattern in patterns:
        name = pattern.removeprefix("!").strip("/")
        if any(_expression(name).fullmatch(parent) for parent in parents):
            taken = pattern.startswith("!")
    return taken


def _expression(pattern: str) -> re.Pattern[str]:
    """`**` matches any number of folders, `*` and `?` stay within one name."""
    pieces = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(meaning.get(piece, re.escape(piece)) for piece in pieces))


def context_files(root: Path) -> list[str]:
    """The admitted files below `root`, sorted."""
    lines = (root / ".dockerignore").read_text().splitlines()
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    files = (file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file())
    return sorted(file for file in files if admitted(file, patterns))


def write_context(root: Path, target: Path, seconds: int) -> None:
    """Write the context of `root` as tar.gz. The same files and `seconds` (Unix time) give the same bytes."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        entry.mtime = seconds
        entry.mode = 0o755 if entry.mode & 0o100 else 0o644
        return entry

    with (
        target.open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=seconds) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in context_files(root):
            tar.add(root / name, name, recursive=False, filter=plain)
