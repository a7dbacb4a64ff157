"""Where the counts of one process, or of all processes of an edge, are kept.

Processes of an edge share a directory of memory-mapped files. The metrics client looks at the environment when it is
first imported, so `one_process` or `many_processes` is called before anything imports `shared.metrics`.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from shared.errors import SettingsError

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_FOLDER = "coatcheck-metrics"
_LOCK = "lock"
_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - the folder in it is made by mkdtemp, for this user alone


def one_process() -> None:
    """Keep metrics in this process's memory, whatever the environment says."""
    os.environ.pop(VARIABLE, None)


def many_processes() -> Path:
    """Let this process and the ones it forks share metrics; returns their directory, emptied.

    It is the one that PROMETHEUS_MULTIPROC_DIR names, or a new one in memory that goes away with this process.
    """
    if "prometheus_client" in sys.modules:
        raise RuntimeError("prometheus_client was imported before its directory was chosen")
    if given := os.environ.get(VARIABLE):
        folder = _emptied(Path(given))
    else:
        parent = _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else Path(tempfile.gettempdir())
        _remove_left_over(parent)
        folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}-", dir=parent))
        _hold(folder)
        atexit.register(_remove_own, folder, os.getpid())
    os.environ[VARIABLE] = str(folder)
    return folder


def _emptied(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _unlink(folder.glob("*.db"))
    except OSError as error:
        raise SettingsError(f"{VARIABLE}={folder}: {error.strerror}; name a writable directory or unset it") from None
    return folder


def _unlink(files: Iterable[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)


def _remove_own(folder: Path, owner: int) -> None:
    """Remove the directory at the end of the process that made it, not of one that it forked."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_left_over(parent: Path) -> None:
    """Remove directories of processes that were killed before they could do it: nobody holds their lock."""
    for folder in parent.glob(f"{_FOLDER}-*"):
        with contextlib.suppress(OSError), (folder / _LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


def _hold(folder: Path) -> None:
    """Lock the directory until this process and all that it forked are gone."""
    lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
