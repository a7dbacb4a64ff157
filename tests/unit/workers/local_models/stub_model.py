"""A model for tests of model processes: does what the call's model name says."""

import os
import time
from pathlib import Path

from workers.error_classification import bad_request
from workers.local_models.requests.task import Task
from workers.provider_interface import Answer


class StubModel:
    """Answers, fails or hangs as told."""

    def answer(self, task: Task) -> Answer:
        """The call's model name is the order."""
        match task.call.model:
            case "echo":
                return Answer(task.call.content.data, "text/plain")
            case "environment":
                return Answer("\n".join(sorted(os.environ)).encode(), "text/plain")
            case "refuse":
                raise bad_request("field 'x': no")
            case "break":
                raise KeyError(task.call.content.data.decode())
            case "print":
                print("not a frame", flush=True)
                return Answer(b"printed", "text/plain")
            case "crash":
                os.abort()
            case "wait until stopped":
                while not task.abandoned:
                    time.sleep(0.01)
                Path(task.call.content.data.decode()).touch()
                task.stop_if_abandoned()
            case "hang":
                time.sleep(3600)
        raise AssertionError("an order that is none")


def load(threads: int) -> StubModel:
    """Loads nothing."""
    return StubModel()
