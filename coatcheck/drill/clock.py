"""Clocks that can be set wrong: a small library, preloaded into a process, adds what a file says to its wall clock.

Time-outs are not touched, as when somebody sets a machine's clock. libfaketime is not used because the packaged one
breaks `time.sleep` of Python 3.11.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_VARIABLE = "DRILL_CLOCK_FILE"
_SECONDS = struct.Struct("=q")
_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long long none = 0, *wrong_by = &none;

__attribute__((constructor)) static void find_file(void) {
    const char *name = getenv("DRILL_CLOCK_FILE");
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *page = mmap(NULL, sizeof(long long), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (page != MAP_FAILED) wrong_by = page;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *wrong_by;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (at) *at = exact.tv_sec;
    return exact.tv_sec;
}

/* A deadline that was made from the wrong clock is meant for the right one. Monotonic ones are much smaller. */
static struct timespec put_right(const struct timespec *until) {
    struct timespec right = *until;
    if (right.tv_sec > 1000000000) right.tv_sec -= *wrong_by;
    return right;
}

int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until) {
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!real) *(void **)&real = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    struct timespec right = put_right(until);
    return real(cond, mutex, &right);
}

int sem_timedwait(sem_t *sem, const struct timespec *until) {
    static int (*real)(sem_t *, const struct timespec *);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "sem_timedwait");
    struct timespec right = put_right(until);
    return real(sem, &right);
}
"""


def what_is_missing() -> str:
    """One line that says what is needed here to set clocks wrong; empty if nothing."""
    if not sys.platform.startswith("linux"):
        return "clocks can only be set wrong on Linux"
    return "" if shutil.which("cc") else "setting clocks wrong needs a C compiler, `cc`"


class Clocks:
    """One wrong clock for each member, below `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._library = directory / "wrong_clock.so"

    def build(self) -> None:
        """Compile the library. Blocks for a second."""
        self._directory.mkdir(parents=True, exist_ok=True)
        source = self._directory / "wrong_clock.c"
        source.write_text(_SOURCE)
        command = ["cc", "-O2", "-shared", "-fPIC", "-o", str(self._library), str(source), "-ldl", "-lpthread"]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)

    def environ(self, name: str) -> Mapping[str, str]:
        """What a member's process needs in its environment, with its clock still right."""
        if not self._library.exists():
            return {}
        self.set(name, 0)
        return {"LD_PRELOAD": str(self._library), _VARIABLE: str(self._file(name))}

    def set(self, name: str, wrong_by: float) -> None:
        """Set a member's clock wrong by so many seconds, in this moment; 0 is right."""
        with self._file(name).open("r+b" if self._file(name).exists() else "wb") as file:
            file.write(_SECONDS.pack(int(wrong_by)))

    def _file(self, name: str) -> Path:
        return self._directory / f"{name}.clock"
