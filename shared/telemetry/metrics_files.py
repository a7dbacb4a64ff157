"""Where the counts of one process, or of all processes of an edge, are kept.

Processes of an edge share a directory of memory-mapped files; each process has the files of one slot, and takes over
those of a process that ended, with their counts. Where the disk has no room for a page of them the kernel ends the
process: so their room is taken at the start, or metrics are given up at the start.

The metrics client looks at the environment when it is first imported: call `one_process` or `many_processes` before.
"""

import atexit
import contextlib
import errno
import fcntl
import itertools
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

from shared.domain.errors import SettingsError

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
FILE_BYTES = {"histogram": 1 << 20} | dict.fromkeys(
    ("counter", "gauge_livesum", "gauge_livemax", "gauge_livemostrecent"), 1 << 16
)
"""The files of a slot and their room: 300 bytes a series, so about 200 label sets of the largest histogram."""
_FOLDER = "coatcheck-metrics"
_LOCK = "lock"
_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - the folder in it is made by mkdtemp, for this user alone

log = logging.getLogger(__name__)


class _Own:
    pid = -1
    """Tells a forked process that the slot is its parent's."""
    slot = 0


def one_process() -> None:
    """Keep metrics in this process's memory, whatever the environment says."""
    os.environ.pop(VARIABLE, None)


def many_processes(processes: int = 1) -> Path | None:
    """Let this process and the ones it forks, of which `processes` serve at a time, share metrics.

    Returns the emptied directory that PROMETHEUS_MULTIPROC_DIR names, or a new one in memory that goes away with this
    process. None when the disk has no room: then each counts for itself. Raises SettingsError.
    """
    if "prometheus_client" in sys.modules:
        raise RuntimeError("prometheus_client was imported before its directory was chosen")
    folder = _emptied(Path(given)) if (given := os.environ.get(VARIABLE)) else _new_folder()
    try:
        for slot in range(
            1 + 2 * processes
        ):  # the master, and twice the server processes, for they overlap when they are replaced
            _make_files(folder, slot)
    except OSError as error:
        log.warning("no room for metrics in %s (%s): those of the server processes are not exported", folder, error)
        _remove_files(folder)
        one_process()
        return None
    os.environ[VARIABLE] = str(folder)
    process_slot()
    return folder


def process_slot() -> int:
    """The number in the names of this process's files: the lowest one that was free."""
    if _Own.pid != os.getpid():
        folder = Path(os.environ[VARIABLE])
        _Own.slot = next(slot for slot in itertools.count() if _taken(folder, slot) is not None)
        _Own.pid = os.getpid()
        _clear_gauges(folder, _Own.slot)
    return _Own.slot


def clear_ended() -> None:
    """Clear the gauges of processes that ended; counters and histograms stay, for the next in their slot."""
    folder = Path(os.environ[VARIABLE])
    for file in folder.glob("counter_*.db"):
        slot = int(file.stem.removeprefix("counter_"))
        if (lock := _taken(folder, slot)) is not None:
            _clear_gauges(folder, slot)
            os.close(lock)


def _clear_gauges(folder: Path, slot: int) -> None:
    """In place: a new file would need room."""
    for file in folder.glob(f"gauge_live*_{slot}.db"):
        with file.open("r+b") as gauges:
            gauges.write(bytes(file.stat().st_size))


def _taken(folder: Path, slot: int) -> int | None:
    """The lock of a slot, held until this process ends or closes it; None when another process holds it."""
    file = folder / f"counter_{slot}.db"
    if not file.exists():
        _make_files(folder, slot)
    lock = os.open(file, os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _make_files(folder: Path, slot: int) -> None:
    """Raises OSError when there is no room. A scrape sees a file when it is whole."""
    for kind, size in FILE_BYTES.items():
        part = folder / f"{kind}_{slot}.part"
        with part.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.write(bytes(size))
        part.rename(part.with_suffix(".db"))


def _new_folder() -> Path:
    parent = _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    _remove_left_over(parent)
    folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}-", dir=parent))
    lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)  # until this process and all that it forked are gone
    atexit.register(_remove_own, folder, os.getpid())
    return folder


def _emptied(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_files(folder)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise SettingsError(f"{VARIABLE}={folder}: {error.strerror}; name a writable directory or unset it") from None
    return folder


def _remove_files(folder: Path) -> None:
    for file in (*folder.glob("*.db"), *folder.glob("*.part")):
        file.unlink(missing_ok=True)


def _remove_own(folder: Path, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_left_over(parent: Path) -> None:
    """Those of processes that were killed: their lock is free."""
    for folder in parent.glob(f"{_FOLDER}-*"):
        with contextlib.suppress(OSError), (folder / _LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
