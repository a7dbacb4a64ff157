"""A library that gives a process a wrong wall clock, a slow disk, a resolver that fails, as a file says meanwhile.

A wrong clock touches no time-outs, as when somebody sets a machine's clock. The packaged libfaketime
breaks `time.sleep` of Python 3.11.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_VARIABLE = "DRILL_PRELOAD_FILE"
_PAGE = struct.Struct("=qqq")
_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* Seconds by which the clock is wrong, milliseconds by which a sync and a look-up take longer; -1: look-ups fail. */
static volatile long long none[3], *page = none;
#define wrong_by page[0]
#define REAL(name) static __typeof__(name) *real; if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void find_file(void) {
    const char *name = getenv("DRILL_PRELOAD_FILE");
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof(none), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED) page = mapped;
}

static void wait_for(long long milliseconds) {
    struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    if (milliseconds > 0) nanosleep(&pause, NULL);
}

int fsync(int file) {
    REAL(fsync);
    wait_for(page[1]);
    return real(file);
}

int fdatasync(int file) {
    REAL(fdatasync);
    wait_for(page[1]);
    return real(file);
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    REAL(getaddrinfo);
    if (node && (*node < '0' || *node > '9')) { /* an address is looked up nowhere */
        if (page[2] < 0) return EAI_AGAIN;
        wait_for(page[2]);
    }
    return real(node, service, hints, found);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(clock_gettime);
    int failed = real(clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += wrong_by;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    *now = (struct timeval){exact.tv_sec, exact.tv_nsec / 1000};
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
    if (right.tv_sec > 1000000000) right.tv_sec -= wrong_by;
    return right;
}

int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until) {
    static __typeof__(pthread_cond_timedwait) *newest;
    if (!newest) *(void **)&newest = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    REAL(pthread_cond_timedwait);
    struct timespec right = put_right(until);
    return (newest ? newest : real)(cond, mutex, &right);
}

int sem_timedwait(sem_t *sem, const struct timespec *until) {
    REAL(sem_timedwait);
    struct timespec right = put_right(until);
    return real(sem, &right);
}
"""


def what_is_missing() -> str:
    if not sys.platform.startswith("linux"):
        return "wrong clocks, slow disks and failing look-ups work on Linux only"
    return "" if shutil.which("cc") else "wrong clocks, slow disks and failing look-ups need a C compiler, `cc`"


class Preload:
    """The library, and for each member a file that says what it suffers, below `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._library = directory / "preload.so"

    def build(self) -> None:
        """Compile the library. Blocks for a second."""
        self._directory.mkdir(parents=True, exist_ok=True)
        source = self._directory / "preload.c"
        source.write_text(_SOURCE)
        command = ["cc", "-O2", "-shared", "-fPIC", "-o", str(self._library), str(source), "-ldl", "-lpthread"]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)

    def environ(self, name: str) -> Mapping[str, str]:
        if not self._library.exists():
            return {}
        self.set(name)
        return {"LD_PRELOAD": str(self._library), _VARIABLE: str(self._file(name))}

    def set(self, name: str, *, wrong_by: float = 0, sync_takes: float = 0, look_up_takes: float = 0) -> None:
        """Seconds by which its clock is wrong, and its syncs and look-ups take longer; negative: look-ups fail."""
        look_up = -1 if look_up_takes < 0 else int(1000 * look_up_takes)
        with self._file(name).open("r+b" if self._file(name).exists() else "wb") as file:
            file.write(_PAGE.pack(int(wrong_by), int(1000 * sync_takes), look_up))

    def _file(self, name: str) -> Path:
        return self._directory / f"{name}.page"
