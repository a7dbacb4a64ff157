"""`python -m coatcheck.drill.mortal_worker worker ...`: the command, except that calls of some models kill it.

It stands for whatever takes a whole process down at once: a crash in native code, the kernel that ends who is too big.
`poison` kills it each time. The other two do it under a job's first claim only: when the job is claimed and nobody has
been called, and when the provider has answered and nothing is recorded.
"""

from __future__ import annotations

import os
import signal

from coatcheck.cli.main import main
from workers.providers.base import Answer, Call
from workers.providers.openai import OpenAIProvider

POISON = "poison"
CLAIMED, ANSWERED = "dies-when-claimed", "dies-when-answered"


def make_mortal() -> None:
    """Let payloads kill this process with the signal that nothing can catch."""
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
    main()
