"""Fills a virtual environment from the lock files when they have changed: `python -m coatcheck.dev.environment --help`.
Only the standard library: it runs before any package is there. A Python that is too old gets as far as being told."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from coatcheck.dev.checks import MIB, disk_problem, python_problem, system_problem, venv_problem

ROOT = Path(__file__).parents[2]
EXTRAS = ("speech", "transcription", "ocr", "chat")
# Room that a lock file takes while it is installed: downloads and installed files together.
_EXTRA_MIB = {"models-speech": 50, "models-transcription": 500, "models-ocr": 400, "models-chat": 350}
NEEDED_MIB = {"run": 700, "test": 1000, "bench-peers": 150, "audit": 60, **_EXTRA_MIB}
STRANGERS = {"bench-peers", "audit"}  # environments that know nothing of us

_PIP = ("-m", "pip", "install", "--no-deps", "--disable-pip-version-check", "--no-input")
_LOCKED = ("--require-hashes", "--only-binary", ":all:", "--no-compile", "--progress-bar", "off")
_DOWNLOAD = re.compile(r"^\s*(?:Downloading|Using cached) .* \(([\d.]+) (kB|MB|bytes)\)")
_MEGABYTES = {"MB": 1.0, "kB": 1e-3, "bytes": 1e-6}
_KEPT_LINES = 12


class EnvironmentFailed(Exception):
    """The environment cannot be made; the message says what is missing."""


class Environment:
    """A virtual environment that remembers, by hash, which lock files it was filled from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"
        self._note = folder / "installed.json"

    def fill(self, locks: Sequence[str]) -> None:
        """Install what changed of `locks` (names without .txt), then the project itself. Raises EnvironmentFailed."""
        installed = json.loads(self._note.read_text()) if self._note.is_file() and self._works() else {}
        files = {lock: ROOT / "requirements" / f"{lock}.txt" for lock in locks}
        wanted = {lock: _digest(file) for lock, file in files.items()}
        stale = [lock for lock, digest in wanted.items() if installed.get(lock) != digest]
        ours = () if STRANGERS.intersection(locks) else (".", "client")  # the server, and a distribution of its own
        projects = {name: _digest(ROOT / name / "pyproject.toml") for name in ours}
        changed = [name for name, digest in projects.items() if installed.get(name) != digest]
        if not stale and not changed:
            return
        needed = sum(NEEDED_MIB[lock] for lock in stale) * MIB
        _fail_on(system_problem() or disk_problem(self.folder, needed, "installing the packages"))
        if not self._works():
            self._create()
        if stale:
            meter = _Meter()
            named = [argument for lock in stale for argument in ("-r", str(files[lock]))]
            self._pip([*_LOCKED, *named], meter.read)
            meter.finish()
        for name in changed:
            self._pip(["--no-build-isolation", "--editable", str(ROOT / name)], lambda _: None)
        self._note.write_text(json.dumps(installed | wanted | projects, indent=1))

    def _works(self) -> bool:
        """Whether the environment is there and its Python, which may have left the system since, is one we support."""
        supported = "(3, 11) <= sys.version_info[:2] < (3, 15) and importlib.util.find_spec('pip')"
        command = [str(self.python), "-c", f"import importlib.util, sys; sys.exit(not ({supported}))"]
        return self.python.exists() and subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0

    def _create(self) -> None:
        _fail_on(python_problem() or venv_problem())
        import venv  # noqa: PLC0415 - missing on some systems; venv_problem has checked that

        venv.create(self.folder, clear=True, with_pip=True, symlinks=True)

    def _pip(self, arguments: Sequence[str], line_seen: Callable[[str], None]) -> None:
        lines = deque[str](maxlen=_KEPT_LINES)
        process = subprocess.Popen(
            [self.python, *_PIP, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            line_seen(line)
        if process.wait() != 0:
            raise EnvironmentFailed(f"pip could not install the packages; it said:\n{''.join(lines)}")


class _Meter:
    """Adds up what pip says it downloads; on a terminal the line grows while it works."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._megabytes = 0.0

    def read(self, line: str) -> None:
        found = _DOWNLOAD.match(line)
        if found:
            self._megabytes += float(found[1]) * _MEGABYTES[found[2]]
            if sys.stderr.isatty():
                sys.stderr.write(f"\r{self._text()}")

    def finish(self) -> None:
        sys.stderr.write(f"\r{self._text()}\n" if sys.stderr.isatty() else f"{self._text()}\n")

    def _text(self) -> str:
        minutes, seconds = divmod(round(time.monotonic() - self._began), 60)
        return f"packages   {self._megabytes:.0f} MB  {minutes}:{seconds:02d}"


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _fail_on(problem: str | None) -> None:
    if problem:
        raise EnvironmentFailed(problem)


def models_wanted(text: str) -> list[str]:
    """The lock files behind `MODELS=`. Raises EnvironmentFailed for a name that is none."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names == ["all"]:
        names = list(EXTRAS)
    if names == ["none"]:
        names = []
    for name in names:
        if name not in EXTRAS:
            raise EnvironmentFailed(f"MODELS={text}: '{name}' is not one of {', '.join(EXTRAS)}, all, none")
    return [f"models-{name}" for name in names]


def main() -> int:
    parser = argparse.ArgumentParser(description="Fill a virtual environment from the lock files.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("purpose", choices=("run", "test", *sorted(STRANGERS)))
    parser.add_argument("--models", default="", help="comma separated extras, `all` or `none`")
    arguments = parser.parse_args()
    try:
        Environment(arguments.folder).fill([arguments.purpose, *models_wanted(arguments.models)])
    except EnvironmentFailed as failed:
        sys.stderr.write(f"{failed}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
