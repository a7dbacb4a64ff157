"""The worker's side of a model's process: starts it at first use, talks to it, and starts it again when it died."""

import logging
import os
import select
import subprocess
import sys
import time
from pathlib import Path

from workers.local_models import frames
from workers.local_models.frames import Answered, Broken, Refused, Reply
from workers.local_models.requests.task import Task, abandoned
from workers.provider_interface import Answer, ProviderError

log = logging.getLogger(__name__)

LOAD_SECONDS = 120.0
STOP_SECONDS = 2.0
"""How long a model may take to come to a stopping point before its process is killed."""
_LOOK_SECONDS = 0.1
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
        self._process: _Child | None = None
        self._killed = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def answer(self, task: Task) -> Answer:
        process = self._process or self._start()
        try:
            frames.write(process.calls.fileno(), task.call)
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
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def kill(self) -> None:
        """Ends the process at once, for good. Safe from any thread; a call under way fails."""
        self._killed = True
        process = self._process
        if process is not None:
            process.kill()

    def _start(self) -> "_Child":
        if self._killed:
            raise abandoned()
        started = time.monotonic()
        self._process = process = _Child(self._module, self._threads)
        try:
            # Not cancelled by a call's time-out: the next call would have to load the model again.
            reply = process.read(LOAD_SECONDS)
        except (EOFError, OSError):
            raise self._died() from None
        if isinstance(reply, Broken):
            self.close()
            raise self._broken("could not be loaded", reply, retryable=True)
        log.info("local model %s loaded in %.2f s, process %d", self._name, time.monotonic() - started, process.pid)
        return process

    def _reply(self, process: "_Child", task: Task) -> Reply:
        """Waits for the reply. A task that nobody waits for is asked to stop, then stopped."""
        while not process.has_reply(_LOOK_SECONDS):
            if task.abandoned:
                return self._stop(process)
        return process.read()

    def _stop(self, process: "_Child") -> Reply:
        os.write(process.calls.fileno(), frames.STOP)
        if process.has_reply(STOP_SECONDS):
            return process.read()
        log.warning("local model %s did not stop within %.0f s and is killed", self._name, STOP_SECONDS)
        process.kill()
        self.close()
        raise abandoned()

    def _died(self) -> ProviderError:
        process, self._process = self._process, None
        status = process.end() if process is not None else None
        log.error("the process of local model %s ended by itself, status %s", self._name, status)
        message = f"local model {self._name} ended unexpectedly (status {status})"
        return ProviderError(message, 500, "provider_server_error", retryable=True)

    def _broken(self, what: str, reply: Broken, *, retryable: bool) -> ProviderError:
        log.error("local model %s %s: %s\n%s", self._name, what, reply.exception, reply.frames)
        message = f"local model {self._name} {what}: {reply.exception}"
        return ProviderError(message, 500, "provider_server_error", retryable=retryable)


class _Child(subprocess.Popen[bytes]):
    def __init__(self, module: str, threads: int) -> None:
        root = str(Path(__file__).parents[2])
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        search = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        super().__init__(
            [sys.executable, "-P", "-m", "workers.local_models.model_main", module, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # libraries quote what they are given
            bufsize=0,
            env={**environment, **_OFFLINE, "PYTHONPATH": search, "OMP_NUM_THREADS": str(threads)},
        )
        assert self.stdin is not None
        assert self.stdout is not None
        self.calls, self._replies = self.stdin, self.stdout

    def end(self) -> int:
        """Closes the pipes, which ends the process, and waits for it. Returns its exit status."""
        self.calls.close()
        self._replies.close()
        try:
            return self.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.wait()

    def read(self, seconds: float | None = None) -> Reply:
        """The next reply. Raises EOFError when the process ends, or says nothing within `seconds`."""
        if seconds is not None and not self.has_reply(seconds):
            raise EOFError
        message = frames.read(self._replies.fileno())
        if message is None:
            raise EOFError
        return frames.decode_reply(message)

    def has_reply(self, seconds: float) -> bool:
        poll = select.poll()  # and not select(), which cannot take the descriptors of a worker with many connections
        poll.register(self._replies, select.POLLIN)
        return bool(poll.poll(round(seconds * 1000)))
