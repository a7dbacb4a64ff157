"""Runs a command that is told to stop when the process that asked for it is gone.

Used as `python tether.py PARENT_PID COMMAND...`; becomes the command, so the process id stays the same. It is a small
program and not a `preexec_fn` because Python code between fork and exec can deadlock in a process with threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

PR_SET_PDEATHSIG = 1
WATCH_SECONDS = 0.5


def ask_the_kernel() -> None:
    """Linux: the kernel sends SIGTERM when the thread that started us ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")


def leave_a_watch(parent: int) -> None:
    """Elsewhere: a forked watch sends SIGTERM to us, whom it sees as its parent, when `parent` is gone."""
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
    """Whether a process of ours with this id exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def main(arguments: list[str]) -> None:
    """Tie this process to the parent named in `arguments`, then become the command."""
    parent, command = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        ask_the_kernel()
    else:
        leave_a_watch(parent)
    if os.getppid() != parent:  # it went before the tie was made
        sys.exit(1)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
