"""The worker's side of a model's process: starts it at first use, talks to it, and starts it again when it died."""

import logging
import os
import select
import subprocess
import sys
import time
from pathlib import Path

from workers.providers.base import Answer, ProviderError
from workers.providers.local import frames
from workers.providers.local.frames import Answered, Broken, Refused, Reply
from workers.providers.local.task import Task, abandoned

log = logging.getLogger(__name__)

LOAD_SECONDS = 120.0
STOP_SECONDS = 2.0
"""How long a model may take to come to a stopping point before its process is killed."""
_LOOK_MILLISECONDS = 100
# The process needs no more of the environment, and least of all the providers' keys.
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV")
_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


class ModelProcess:
    """One model in a process of its own. Used by one thread, but for `kill`."""

    def __init__(self, name: str, module: str, threads: int) -> None:
        """`module` has a function `load(threads)` that returns a Model; `name` is for logs and errors."""
        self._name = name
        self._module = module
        self._threads = threads
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False

    @property
    def pid(self) -> int | None:
        """The process that runs now, if any."""
        return self._process.pid if self._process is not None else None

    def answer(self, task: Task) -> Answer:
        """Has the call answered. Raises ProviderError."""
        process = self._process or self._start()
        try:
            frames.write(_in(process), task.call)
            reply = self._reply(process, task)
        except (EOFError, OSError):
            raise self._died() from None
        match reply:
            case Answered(answer):
                return answer
            case Refused():
                raise reply.error()
            case Broken():
                raise self._broken("failed", reply, retryable=False)
            case _:
                raise AssertionError("a model said twice that it is ready")

    def close(self) -> None:
        """Ends the process. Safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)

    def kill(self) -> None:
        """Ends the process at once, for good. Safe from any thread; a call under way fails."""
        self._killed = True
        process = self._process
        if process is not None:
            process.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        if self._killed:
            raise abandoned()
        started = time.monotonic()
        self._process = process = _spawn(self._module, self._threads)
        try:
            # Nobody's time-out ends this: the next call would only have to begin again.
            reply = _read_within(process, LOAD_SECONDS)
        except (EOFError, OSError):
            raise self._died() from None
        if isinstance(reply, Broken):
            self.close()
            raise self._broken("could not be loaded", reply, retryable=True)
        log.info("local model %s loaded in %.2f s, process %d", self._name, time.monotonic() - started, process.pid)
        return process

    def _reply(self, process: subprocess.Popen[bytes], task: Task) -> Reply:
        """Waits for the reply. A task that nobody waits for is asked to stop, then stopped."""
        while not _readable(process, _LOOK_MILLISECONDS):
            if task.abandoned:
                return self._stop(process)
        return _read(process)

    def _stop(self, process: subprocess.Popen[bytes]) -> Reply:
        os.write(_in(process), frames.STOP)
        if _readable(process, round(STOP_SECONDS * 1000)):
            return _read(process)
        log.warning("local model %s did not stop within %.0f s and is killed", self._name, STOP_SECONDS)
        process.kill()
        self.close()
        raise abandoned()

    def _died(self) -> ProviderError:
        process, self._process = self._process, None
        status = _end(process) if process is not None else None
        log.error("the process of local model %s ended by itself, status %s", self._name, status)
        return ProviderError(
            f"local model {self._name} ended unexpectedly (status {status})",
            status_code=500,
            error_type="provider_server_error",
            retryable=True,
        )

    def _broken(self, what: str, reply: Broken, *, retryable: bool) -> ProviderError:
        log.error("local model %s %s: %s\n%s", self._name, what, reply.exception, reply.frames)
        return ProviderError(
            f"local model {self._name} {what}: {reply.exception}",
            status_code=500,
            error_type="provider_server_error",
            retryable=retryable,
        )


def _spawn(module: str, threads: int) -> subprocess.Popen[bytes]:
    root = str(Path(__file__).parents[3])
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    search = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(  # noqa: S603 - our own interpreter and our own module
        [sys.executable, "-P", "-m", "workers.providers.local.model_main", module, str(threads)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # libraries quote what they are given
        bufsize=0,
        env={**environment, **_OFFLINE, "PYTHONPATH": search, "OMP_NUM_THREADS": str(threads)},
    )


def _end(process: subprocess.Popen[bytes]) -> int:
    """Closes the pipes, which ends the process, and waits for it. Returns its exit status."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _read_within(process: subprocess.Popen[bytes], seconds: float) -> Reply:
    if not _readable(process, round(seconds * 1000)):
        raise EOFError
    return _read(process)


def _read(process: subprocess.Popen[bytes]) -> Reply:
    message = frames.read(_out(process))
    if message is None:
        raise EOFError
    return frames.decode_reply(message)


def _readable(process: subprocess.Popen[bytes], milliseconds: int) -> bool:
    """Whether a reply, or the end of the process, can be read within this time."""
    poll = select.poll()  # and not select(), which cannot take the descriptors of a worker with many connections
    poll.register(_out(process), select.POLLIN)
    return bool(poll.poll(milliseconds))


def _in(process: subprocess.Popen[bytes]) -> int:
    assert process.stdin is not None
    return process.stdin.fileno()


def _out(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout is not None
    return process.stdout.fileno()
