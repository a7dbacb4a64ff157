"""Makes the files of a release from a commit: wheels, image context, chart, bill of materials, checksums."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from deploy.release.commits import commit_time, export
from deploy.release.context import write_context
from deploy.release.helm import helm
from deploy.release.versions import agreed_version

SUMS = "SHA256SUMS"
_CHART = Path("deploy/k8s/coatcheck")


class BuildFailed(Exception):
    """A wheel could not be built; the message is what pip wrote."""


def make_release(repository: Path, commit: str, sbom: Path, target: Path) -> list[Path]:
    """Build everything of `commit` into `target`, which is emptied first; the files, sorted.

    Raises Disagreement, CommitMissing, BuildFailed, HelmFailed; `target` stays as it was.
    """
    with TemporaryDirectory() as folder:
        sources, made = Path(folder, "sources"), Path(folder, "made")
        made.mkdir()
        export(repository, commit, sources)
        version = agreed_version(sources)
        seconds = commit_time(repository, commit)
        write_context(sources, made / f"coatcheck-image-context-{version}.tar.gz", seconds)
        helm("package", sources / _CHART, "--destination", made)
        shutil.copyfile(sbom, made / f"coatcheck-{version}.cdx.json")
        _build_wheels(sources, made, seconds)  # last: it writes beside the sources
        _write_sums(made)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(made, target)
    return sorted(target.iterdir())


def _build_wheels(sources: Path, made: Path, seconds: int) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    ran = subprocess.run(
        [*command, "--wheel-dir", made, sources, sources / "client"],
        env={**os.environ, "SOURCE_DATE_EPOCH": str(seconds)},
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode != 0:
        raise BuildFailed(f"{ran.stdout}{ran.stderr}")


def _write_sums(folder: Path) -> None:
    files = sorted(folder.iterdir())
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    (folder / SUMS).write_text("".join(lines))
