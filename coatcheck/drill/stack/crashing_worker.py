"""`python -m coatcheck.drill.stack.crashing_worker worker ...`: the command, except that calls of some models kill it.

`poison` does each time. The other two do it under a job's first claim only: when the job is claimed and nobody has been
called, and when the provider has answered and nothing is recorded.
"""

from __future__ import annotations

import os
import runpy
import signal

from workers.provider_interface import Answer, Call
from workers.providers.openai.provider import OpenAIProvider

POISON = "poison"
CLAIMED, ANSWERED = "dies-when-claimed", "dies-when-answered"


def make_mortal() -> None:
    call = OpenAIProvider.call

    async def deadly(self: OpenAIProvider, asked: Call) -> Answer:
        first = asked.call_id.split("/")[1] == "1"
        if asked.model == POISON or (first and asked.model == CLAIMED):
            os.kill(os.getpid(), signal.SIGKILL)
        answer = await call(self, asked)
        if first and asked.model == ANSWERED:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    OpenAIProvider.call = deadly  # type: ignore[assignment, method-assign]


if __name__ == "__main__":
    make_mortal()
    runpy.run_module("coatcheck", run_name="__main__", alter_sys=True)
