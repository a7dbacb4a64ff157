"""What must be true before anything is downloaded or started; each check says in one line what is missing, or None.
Only the standard library is imported: the first run happens before any package is installed."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
from pathlib import Path

from coatcheck.dev.ports import is_free

OLDEST_PYTHON = (3, 11)
FIRST_UNTRIED_PYTHON = (3, 15)
OLDEST_GLIBC = (2, 28)
OLDEST_MACOS = 14
MIB = 1024 * 1024


def system_problem() -> str | None:
    system, machine = platform.system(), platform.machine()
    if system == "Linux" and machine in {"x86_64", "aarch64"}:
        return _libc_problem(*platform.libc_ver())
    if system == "Darwin" and machine == "arm64":
        version = platform.mac_ver()[0]
        too_old = f"macOS {version} is too old: the packages need macOS {OLDEST_MACOS} or newer"
        return None if int(version.split(".")[0]) >= OLDEST_MACOS else too_old
    possible = "use Linux (x86-64, arm64), macOS (Apple silicon), or WSL2 on Windows"
    return f"{system} on {machine} is not supported: {possible}"


def _libc_problem(library: str, version: str) -> str | None:
    if library != "glibc":
        return "this Linux does not use glibc (Alpine?): the packages have no builds for it; use a Debian-like system"
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_GLIBC:
        return f"glibc {version} is too old: the packages need {'.'.join(map(str, OLDEST_GLIBC))} or newer"
    return None


def python_problem() -> str | None:
    if OLDEST_PYTHON <= sys.version_info[:2] < FIRST_UNTRIED_PYTHON and platform.python_implementation() == "CPython":
        return None
    found = f"{platform.python_implementation()} {platform.python_version()}"
    return f"CPython 3.11 to 3.14 is needed, this is {found}: make run PYTHON=/path/to/python3.12"


def venv_problem() -> str | None:
    """Whether this interpreter cannot make virtual environments, as on Debian without its extra package."""
    if importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip"):
        return None
    major, minor = sys.version_info[:2]
    return f"{sys.executable} has no venv module: apt install python{major}.{minor}-venv (or your system's equivalent)"


def disk_problem(folder: Path, needed: int, what: str) -> str | None:
    """Whether the disk that holds `folder`, which need not exist yet, has less than `needed` bytes free."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free >= needed:
        return None
    return f"{what} needs {needed // MIB} MB on the disk of {existing}, {free // MIB} MB are free"


def port_problem(host: str, port: int, way_out: str) -> str | None:
    """Whether host:port cannot be listened on. `way_out` is what to type instead."""
    try:
        if is_free(host, port):
            return None
    except OSError as error:
        return f"cannot listen on {host}: {error.strerror or error}"
    return f"port {port} on {host} is taken: stop what uses it, or {way_out}"
