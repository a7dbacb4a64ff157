"""Runs a command that is told to stop when the process that asked for it is gone: `python parent_death_watch.py PID
COMMAND...`; becomes the command, so the process id stays the same. It is no `preexec_fn` because Python code between
fork and exec can deadlock in a process with threads."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

PR_SET_PDEATHSIG = 1
WATCH_SECONDS = 0.5


def leave_a_watch(parent: int) -> None:
    """A forked watch sends SIGTERM to us, whom it sees as its parent, when `parent` is gone."""
    command = os.getpid()
    if os.fork() != 0:
        return
    for descriptor in range(3):
        os.close(descriptor)
    while os.getppid() == command and is_alive(parent):
        time.sleep(WATCH_SECONDS)
    if os.getppid() == command:
        os.kill(command, signal.SIGTERM)
    os._exit(0)


def is_alive(pid: int) -> bool:
    """Whether a process of ours with this id runs. One that has ended exists until its parent has collected it, which
    in a container without an init nobody may do."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - this program imports little
            stat = file.read()
    except OSError:
        stat = b") "
        if sys.platform != "linux":
            with os.popen(f"ps -o stat= -p {pid:d}") as ps:  # noqa: S605 - a number
                stat += ps.read().strip().encode()
    state = stat[stat.rindex(b")") + 2 :][:1]  # its letter, as ps shows it; none when the process is gone
    return state not in b" ZX"


def main(arguments: list[str]) -> None:
    parent, command = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":  # the kernel sends SIGTERM when the thread that started us ends
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    else:
        leave_a_watch(parent)
    if os.getppid() != parent:  # the parent ended before we were tied to it
        sys.exit(1)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
