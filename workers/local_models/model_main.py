"""A model's process: loads one model and answers calls, one by one, until the worker closes the pipe.

It runs native code on files that strangers sent: a crash costs one call, and what does not stop can be killed.
"""

import os
import resource
import signal
import sys
import threading
import traceback
from importlib import import_module
from queue import SimpleQueue

from workers.local_models import frames
from workers.local_models.frames import Answered, Broken, Ready, Refused, Reply
from workers.local_models.requests.task import Model, Task
from workers.provider_interface import ProviderError


def main(module: str, threads: int) -> None:
    """Serves the calls that come in on stdin. Ends when stdin does, without looking back: no native destructors run."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # sent to the whole group; the worker decides when a model stops
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold a client's data
    calls_in, replies_out = _take_the_pipes()
    tasks: SimpleQueue[Task] = SimpleQueue()
    threading.Thread(target=_listen, args=(calls_in, tasks), name="calls", daemon=True).start()
    try:
        model: Model = import_module(module).load(threads)
    except Exception as error:
        frames.write(replies_out, _broken(error))
        os._exit(1)
    frames.write(replies_out, Ready())
    while True:
        frames.write(replies_out, _reply(model, tasks.get()))


def _take_the_pipes() -> tuple[int, int]:
    """Keeps the two pipes and turns stdin and stdout away, so that no library can write into a frame."""
    calls_in, replies_out = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return calls_in, replies_out


def _listen(calls_in: int, tasks: "SimpleQueue[Task]") -> None:
    latest: Task | None = None
    try:
        while True:
            message = frames.read(calls_in)
            if message is not None:
                latest = Task(frames.decode_call(message))
                tasks.put(latest)
            elif latest is not None:
                latest.abandon()
    except (EOFError, OSError):
        os._exit(0)  # the worker is gone, or wants no more
    except BaseException:
        os._exit(1)  # nobody would hear a call any more; the worker starts another process


def _reply(model: Model, task: Task) -> Reply:
    try:
        return Answered(model.answer(task))
    except ProviderError as error:
        return Refused.by(error)
    except Exception as error:
        return _broken(error)


def _broken(error: Exception) -> Broken:
    return Broken(type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
