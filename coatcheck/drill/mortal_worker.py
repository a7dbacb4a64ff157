"""`python -m coatcheck.drill.mortal_worker worker ...`: the command, except that a call of the model `poison` kills it.

It stands for whatever takes a whole process down at once: a crash in native code, the kernel that ends who is too big.
"""

from __future__ import annotations

import os
import signal

from coatcheck.cli.main import main
from workers.providers.base import Answer, Call
from workers.providers.openai import OpenAIProvider

POISON = "poison"


def make_mortal() -> None:
    """Let the payload kill this process with the signal that nothing can catch."""
    call = OpenAIProvider.call

    async def deadly(self: OpenAIProvider, asked: Call) -> Answer:
        if asked.model == POISON:
            os.kill(os.getpid(), signal.SIGKILL)
        return await call(self, asked)

    OpenAIProvider.call = deadly  # type: ignore[assignment, method-assign]


if __name__ == "__main__":
    make_mortal()
    main()
