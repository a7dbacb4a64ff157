"""`python -m deploy.release dist --sbom FILE`: the files of a release, made from the last commit."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from deploy.release.build import BuildFailed, make_release
from deploy.release.commits import CommitMissing, changed_files
from deploy.release.helm import ROOT, HelmFailed
from deploy.release.versions import Disagreement


def main() -> int:
    """Exit code: 0 the files are there, 1 they are not and why is on stderr."""
    parser = argparse.ArgumentParser(description="Make the files of a release from the last commit.")
    parser.add_argument("target", type=Path, help="the folder for them; emptied first")
    parser.add_argument("--sbom", type=Path, required=True, help="the bill of materials, as `make sbom` writes it")
    parser.add_argument("--repository", type=Path, default=ROOT)
    arguments = parser.parse_args()
    try:
        changed = changed_files(arguments.repository)
        files = make_release(arguments.repository, "HEAD", arguments.sbom, arguments.target)
    except (Disagreement, CommitMissing, BuildFailed, HelmFailed, RuntimeError) as failed:
        sys.stderr.write(f"{failed}\n")
        return 1
    for file in files:
        sys.stdout.write(f"{file.stat().st_size:>10}  {file.name}\n")
    if changed:
        sys.stderr.write(f"not in it, because not committed: {len(changed)} files\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
